package tarfs

import (
	"archive/tar"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// An ACL that gives user 5 all rights, and a capability (cap_net_bind_service=ep), as the kernel stores them.
const (
	acl = "\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x07\x00\x05\x00\x00\x00\x04\x00\x04\x00\xff\xff\xff\xff" +
		"\x10\x00\x07\x00\xff\xff\xff\xff\x20\x00\x04\x00\xff\xff\xff\xff"
	bind = "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
)

// xattrs lists what a file has of these.
func xattrs(t *testing.T, name string) map[string]string {
	t.Helper()
	f, err := os.Open(name)
	must(t, err)
	defer f.Close()
	attrs, err := attributes(f, archived)
	must(t, err)
	return attrs
}

func setXattr(t *testing.T, name, attr, value string) {
	t.Helper()
	if err := unix.Setxattr(name, attr, []byte(value), 0); err != nil {
		t.Skipf("no %s here: %v", attr, err)
	}
}

// TestAttributes copies extended attributes, ACLs and capabilities with -a, and none without. Those that a file gets
// from its directory's default ACL are not the source's.
func TestAttributes(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root gives capabilities")
	}
	src, file := filepath.Join(t.TempDir(), "src"), "src/sub/f"
	write(t, filepath.Join(src, "sub", "f"), strings.Repeat("x", 300<<10))
	write(t, filepath.Join(src, "sub", "plain"), "x")
	for name, attrs := range map[string]map[string]string{
		"sub":   {defaultACL: acl, "user.dir": "\x00d"},
		"sub/f": {capability: bind, accessACL: acl, "user.n": "line\nand\x00zero", "user.empty": ""},
	} {
		for attr, value := range attrs {
			setXattr(t, filepath.Join(src, name), attr, value)
		}
	}
	for _, owners := range []bool{true, false} {
		for _, over := range []bool{false, true} {
			dst := t.TempDir()
			if over {
				write(t, filepath.Join(dst, "src", "sub", "f"), "old")
				must(t, os.Link(filepath.Join(dst, "src", "sub", "f"), filepath.Join(dst, "other")))
			}
			setXattr(t, dst, defaultACL, acl)
			if stats, err := copyTree(t, src, dst, ExtractOptions{Recursive: true, Owners: owners}); err != nil || stats.Failed > 0 {
				t.Fatal(stats, err)
			}
			for _, name := range []string{"src/sub", "src/sub/plain", file} {
				want, got := xattrs(t, filepath.Join(filepath.Dir(src), name)), xattrs(t, filepath.Join(dst, name))
				if !owners {
					delete(got, accessACL) // of the directory, as always
					delete(got, defaultACL)
					want = map[string]string{}
				}
				if diff := cmp.Diff(fmt.Sprintf("%q", want), fmt.Sprintf("%q", got)); diff != "" && len(want)+len(got) > 0 {
					t.Errorf("-a %v, over %v, %s: %s", owners, over, name, diff)
				}
			}
		}
	}
}

// TestAttributesRefused says of a file what its new place does not keep, and copies the rest.
func TestAttributesRefused(t *testing.T) {
	dst := t.TempDir()
	bad := archive(t, tar.Header{Name: "src", PAXRecords: map[string]string{
		attributePrefix + accessACL: "no ACL", attributePrefix + "security.selinux": "theirs",
	}})
	var said []string
	stats, err := Extract(t.Context(), bad, dst, ExtractOptions{Name: "src", Owners: true, Warn: func(s string) { said = append(said, s) }})
	if data, _ := os.ReadFile(filepath.Join(dst, "src")); string(data) != "evil" || err != nil || stats.Failed != 1 {
		t.Errorf("%q %+v %v", data, stats, err)
	}
	if len(said) != 1 || !strings.Contains(said[0], `"src": its extended attributes: system.posix_acl_access: `) {
		t.Errorf("%q", said)
	}
}
