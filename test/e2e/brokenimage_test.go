package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// deb is version of the package tool: its program passes its test in the third alone.
func deb(version int) []byte {
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	member := func(name string, data []byte) {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n%s", name, 0, 0, 0, "100644", len(data), data)
		if len(data)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	archive := func(name, content string, mode int64) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		w := tar.NewWriter(z)
		w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(content))})
		w.Write([]byte(content))
		w.Close()
		z.Close()
		return b.Bytes()
	}
	member("debian-binary", []byte("2.0\n"))
	member("control.tar.gz", archive("./control", fmt.Sprintf("Package: tool\nVersion: %d\nArchitecture: all\nMaintainer: m <m@localhost>\nDescription: d\n", version), 0o644))
	member("data.tar.gz", archive("./usr/bin/tool", fmt.Sprintf("#!/bin/sh\ntest %d = 3\n", version), 0o755))
	return b.Bytes()
}

// TestBrokenImageVM: a VM of an image that has lost /usr is whole again, with its processes. Of four versions of a package
// one passes its test, and becomes the VM; diff says what its installation did.
func TestBrokenImageVM(t *testing.T) {
	t.Parallel() // its guests boot, mostly
	n := setup(t)
	n.want(0, "create", "a", "--image", "dir:"+tree(t), "--wait", "--auto", "exec")
	n.want(0, "exec", "-d", "a", "--", "sleep", "4242")
	n.want(0, "exec", "a", "--", "rm", "-rf", "/usr")
	n.want(0, "auto", "a", "off")
	n.want(127, "exec", "a", "md5sum", "/etc/passwd")
	n.want(0, "undo", "a")
	n.want(0, "exec", "a", "--", "sh", "-c", "md5sum /etc/passwd && pidof sleep")

	n.want(0, "exec", "a", "--", "sh", "-c", "mkdir -p /var/lib/dpkg/info && touch /var/lib/dpkg/status")
	for version := range 4 {
		path := filepath.Join(t.TempDir(), "tool-"+strconv.Itoa(version+1)+".deb")
		if err := os.WriteFile(path, deb(version+1), 0o600); err != nil {
			t.Fatal(err)
		}
		n.want(0, "cp", path, "a:/root/")
	}
	n.want(0, "checkpoint", "a", "--label", "before")
	var pass []int
	variants := json.NewDecoder(strings.NewReader(n.want(0, "explore", "a", "-n", "4", "--json", "--changes", "--", "sh", "-c", "dpkg -i /root/tool-{}.deb && tool")))
	for variants.More() {
		var v struct {
			Variant, Changes int
			ExitCode         int `json:"exit_code"`
			Output           string
		}
		if err := variants.Decode(&v); err != nil || v.Changes == 0 {
			t.Fatalf("%v: %+v", err, v)
		}
		if v.ExitCode == 0 {
			pass = append(pass, v.Variant)
		}
	}
	if !slices.Equal(pass, []int{3}) {
		t.Errorf("the variants %d pass, not the third alone", pass)
	}
	n.want(0, "keep", "a", "3")
	n.want(0, "exec", "a", "tool")
	n.equal("the packages", "A dpkg tool 3\n", n.want(0, "diff", "--packages", "a@before", "a"))
	files := n.differences("a@before", "a")
	if files["/usr/bin/tool"] != "added" || !strings.Contains(files["/var/lib/dpkg/status"], "content") || files["/usr/bin/md5sum"] != "" {
		t.Errorf("the files: %v", files)
	}
}
