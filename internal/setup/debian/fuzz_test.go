package debian

import (
	"cmp"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"noid/internal/setup/distro"
)

// Packages themselves are unpacked by dpkg-deb, into a new directory: noid reads what apt and the package's files say.

// FuzzDepends reads any output of apt-cache: what becomes an argument of apt-get is a package's name.
func FuzzDepends(f *testing.F) {
	f.Add("linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-42-cloud-amd64\n |Depends: x\n  PreDepends: y\n")
	f.Add("  Depends: <virtual>\n  Depends: --option\n  Depends: a/b=1\n")
	all := regexp.MustCompile(``)
	f.Fuzz(func(t *testing.T, out string) {
		for _, pkg := range parseDepends(out, all) {
			if pkg[0] == '-' || strings.ContainsAny(pkg, "/=: \t\r\n\x00_~^") || !strings.Contains(out, pkg) {
				t.Errorf("package %q", pkg)
			}
		}
	})
}

// FuzzRelease reads any os-release.
func FuzzRelease(f *testing.F) {
	f.Add("ID=debian\nVERSION_ID=\"12\"\n", "amd64")
	f.Add("ID=mint\nID_LIKE=\"ubuntu debian\"\n", "arm64")
	f.Add("ID='\"\nID_LIKE=\x00", "")
	f.Fuzz(func(t *testing.T, text, arch string) {
		got := metaPackage(distro.Parse(text), arch)
		for _, byArch := range metaPackages {
			if got == byArch[arch] {
				return
			}
		}
		if got != "" {
			t.Errorf("package %q", got)
		}
	})
}

// FuzzVersions checks that the order of versions is one: sorting by it ends, and the newest is the same whichever comes
// first.
func FuzzVersions(f *testing.F) {
	f.Add("6.1.0-9", "6.1.0-10", "6.1.0-010")
	f.Add("9", "10", "99999999999999999999999999")
	f.Add("", "a", "\xff0")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		ab, ba, bc, ac := compareVersions(a, b), compareVersions(b, a), compareVersions(b, c), compareVersions(a, c)
		if ab != -ba {
			t.Errorf("%q, %q: %d and %d", a, b, ab, ba)
		}
		if ab <= 0 && bc <= 0 && ac > 0 || ab >= 0 && bc >= 0 && ac < 0 || ab == 0 && cmp.Compare(ac, 0) != cmp.Compare(bc, 0) {
			t.Errorf("%q, %q, %q: %d, %d, %d", a, b, c, ab, bc, ac)
		}
	})
}

// FuzzApplets links any list of busybox's: all links are below the tree and lead to busybox.
func FuzzApplets(f *testing.F) {
	f.Add("bin/sh\nsbin/init\nlinuxrc\nusr/bin/[\n")
	f.Add("../../x/y\n/etc/passwd\nbin/sh/x\nbin/../../y\n./z\nbin/busybox\n")
	f.Fuzz(func(t *testing.T, applets string) {
		if len(applets) > 4096 {
			return
		}
		dir := t.TempDir()
		tree := filepath.Join(dir, "outer", "tree")
		if err := os.MkdirAll(filepath.Join(tree, "bin"), 0o755); err != nil {
			t.Fatal(err)
		}
		linkApplets(tree, applets) // a list that cannot be is an error
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.Type() == fs.ModeSymlink {
				if to, err := os.Readlink(path); err != nil || to != "/bin/busybox" {
					t.Errorf("%q leads to %q, %v", path, to, err)
				}
			}
			if !strings.HasPrefix(path, tree) && !strings.HasPrefix(tree, path) {
				t.Errorf("made %q outside the tree", path)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}
