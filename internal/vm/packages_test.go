package vm

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPackages reads what package managers keep, and what is none of it.
func TestPackages(t *testing.T) {
	a, b := known{}, known{}
	a.paragraphs("dpkg", "Package: curl\nStatus: install ok installed\nVersion: 1\nDescription: x\n Package: no\n\nPackage: old\nStatus: deinstall ok config-files\nVersion: 3\n\n", "Package: ", "Version: ")
	b.paragraphs("dpkg", "Package: curl\nStatus: install ok installed\nVersion: 2\n\nPackage: new\nStatus: install ok installed\nVersion: 4\n", "Package: ", "Version: ")
	a.paragraphs("apk", "C:Q1\nP:musl\nV:1.2-r0\nA:x86_64\n\nP:gone\nV:1\n", "P:", "V:")
	b.paragraphs("apk", "C:Q1\nP:musl\nV:1.2-r0\n", "P:", "V:")
	a.pip("/usr/lib/python3/site-packages/requests-2.1.0.dist-info")
	b.pip("/usr/lib/python3/site-packages/requests-2.2.0.dist-info")
	b.pip("/usr/lib/python3/site-packages/requests")
	b.pip("/x/-1.dist-info")
	b.npm([]byte(`{"name": "@scope/left-pad", "version": "1.3.0"}`))
	b.npm([]byte(`{"name": 3}`))
	want := []PackageChange{{"apk", "gone", "1", ""}, {"dpkg", "curl", "1", "2"}, {"dpkg", "new", "", "4"},
		{"npm", "@scope/left-pad", "", "1.3.0"}, {"pip", "requests", "2.1.0", "2.2.0"}}
	if diff := cmp.Diff(want, a.changes(b)); diff != "" {
		t.Error(diff)
	}
	for name, want := range map[string]bool{"/a/node_modules/x/package.json": true, "/node_modules/@s/x/package.json": true,
		"/a/x/package.json": false, "/node_modules/x/lib/package.json": false, "/package.json": false} {
		if ofNPM(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}
