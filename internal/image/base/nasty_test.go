package base

import (
	"archive/tar"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var then = time.Unix(1_700_000_000, 0)

func dir(name string, mode int64) file {
	return file{Header: tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode, ModTime: then, Format: tar.FormatPAX}}
}

func reg(name, content string) file {
	return file{tar.Header{Name: name, Mode: 0o644, ModTime: then, Format: tar.FormatPAX}, content}
}

func symlink(name, target string) file {
	return file{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777, ModTime: then, Format: tar.FormatPAX}}
}

func hardlink(name, target string) file {
	return file{Header: tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644, ModTime: then, Format: tar.FormatPAX}}
}

// with gives a file extended attributes.
func with(f file, xattrs ...string) file {
	f.PAXRecords = map[string]string{}
	for i := 0; i < len(xattrs); i += 2 {
		f.PAXRecords["SCHILY.xattr."+xattrs[i]] = xattrs[i+1]
	}
	return f
}

func owned(f file, uid, gid int) file {
	f.Uid, f.Gid = uid, gid
	return f
}

func dated(f file, when time.Time) file {
	f.ModTime = when
	return f
}

// random are bytes of no pattern, the same each time.
func random(size int, seed uint64) string {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return string(b)
}

const capability = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

func accessList(users int) string {
	entries := []string{"\x01\x00\x06\x00\xff\xff\xff\xff"}
	for i := range users {
		entries = append(entries, "\x02\x00\x07\x00"+string(binary.LittleEndian.AppendUint32(nil, uint32(1000+i))))
	}
	entries = append(entries, "\x04\x00\x04\x00\xff\xff\xff\xff", "\x10\x00\x07\x00\xff\xff\xff\xff", "\x20\x00\x04\x00\xff\xff\xff\xff")
	return "\x02\x00\x00\x00" + strings.Join(entries, "")
}

// nasty are layers with every odd thing that the formats allow. Umoci knows holes in one format only.
func nasty(t testing.TB, holes string) []layer {
	return []layer{pack(t, nastyBottom()), pack(t, nil), pack(t, nastyMiddle()),
		sparse(t, "sparse-gnu", "--format="+holes), sparse(t, "sparse-0.0", "--format=posix", "--sparse-version=0.0"),
		sparse(t, "sparse-0.1", "--format=posix", "--sparse-version=0.1"), sparse(t, "sparse-1.0", "--format=posix", "--sparse-version=1.0"),
		pack(t, nastyTop())}
}

func nastyBottom() []file {
	list := []file{
		owned(dir("./", 0o755), 0, 0),
		dir("usr", 0o755), dir("usr/lib", 0o755), symlink("lib", "usr/lib"), symlink("abs", "/usr/lib"), symlink("up", "../../usr/./lib/../lib"),
		reg("lib/through-a-link", "1"), reg("abs/through-an-absolute-link", "2"), reg("./up//through-dots", "3"), reg("/absolute", "4"),
		symlink("dangling", "not/yet/there"), reg("dangling/implied", "5"), reg("no/parents/at/all", "6"),
		owned(reg("big-ids", "ids"), 70_000, 4_000_000_000), reg("empty", ""),
		dir("sticky", 0o1777), dir("setgid", 0o2755),
		symlink("long-link", strings.Repeat("x", 59)), symlink("longer-link", strings.Repeat("y", 60)), symlink("longest-link", strings.Repeat("/z", 2047)),
		owned(symlink("owned-link", "nowhere"), 7, 8),
		reg("not-\xff\xfe-utf8\x80", "bytes"), reg("ümlaut\u202e", "unicode"), reg(strings.Repeat("n", 255), "longest name"),
		reg("new\nline\t ", "white"), reg("\\", "backslash"),
		{Header: tar.Header{Typeflag: tar.TypeChar, Name: "null", Mode: 0o666, Devmajor: 1, Devminor: 3, ModTime: then}},
		{Header: tar.Header{Typeflag: tar.TypeBlock, Name: "disk", Mode: 0o660, Devmajor: 259, Devminor: 70_000, ModTime: then}},
		{Header: tar.Header{Typeflag: tar.TypeFifo, Name: "fifo", Mode: 0o600, ModTime: then}},
		with(reg("ping", "cap"), "security.capability", capability), with(dir("attributed", 0o755), "user.a", "1", "user.empty", ""),
		with(reg("many-attributes", "x"), "user.one", random(1000, 1), "user.two", random(1500, 2), "trusted.three", "3", "user.a", "\x00\x01\xff"),
		with(reg("foreign", "x"), "com.apple.quarantine", "no", "system.data", "no", "user.kept", "yes"),
		with(reg("overlay", "x"), "trusted.overlay.redirect", "/etc"),
		with(reg("listed", "x"), "system.posix_acl_access", accessList(1)), with(reg("much-listed", "x"), "system.posix_acl_access", accessList(40)),
		with(dir("listed-dir", 0o755), "system.posix_acl_default", accessList(2)),
		{tar.Header{Name: "libarchive", Mode: 0o644, ModTime: then, Format: tar.FormatPAX, PAXRecords: map[string]string{"LIBARCHIVE.xattr.user.a%20b": "dmFsdWU="}}, "x"},
	}
	list[len(list)-5].Mode, list[len(list)-4].Mode, list[len(list)-3].Mode = 0o644, 0o674, 0o674
	setuid := reg("setuid", "run me")
	setuid.Mode = 0o6755
	list = append(list, setuid)
	for i, sec := range []int64{-1, -2147483647, -14182940, 0, 2147483647, 2147483648, 4294967295, 4294967296, 8589934592, 15032385534} {
		list = append(list, dated(reg(fmt.Sprint("time/", i), ""), time.Unix(sec, 123456789)))
	}
	return append(list, nastyLower()...)
}

// nastyLower are files for the layers above to change.
func nastyLower() []file {
	return []file{
		reg("twice", "first"), reg("twice", "second and longer"), reg("kind", "file"), dir("kind-dir", 0o755), reg("kind-dir/below", "gone"),
		dir("merged", 0o700), reg("merged/lower", "stays"), reg("merged/replaced", "lower"), reg("merged/removed", "gone"),
		dir("opaque", 0o755), reg("opaque/lower", "gone"), dir("opaque/sub", 0o755), reg("opaque/sub/lower", "gone"),
		dir("whole", 0o755), reg("whole/lower", "gone"), reg("removed", "gone"), dir("removed-dir", 0o755), reg("removed-dir/x", "gone"),
		reg("linked", "the lower file's content"), hardlink("linked-too", "./linked"), hardlink("lib/linked-below", "/linked"),
		symlink("linked-symlink", "target"), hardlink("symlink-too", "linked-symlink"),
		reg("hidden-but-linked", "kept by the other name"), hardlink("other-name", "hidden-but-linked"),
		reg("late", "kept by a higher layer's link"), reg("shadow", "lower"), dir("was-dir", 0o755), reg("was-dir/x", "gone"), symlink("was-link", "merged"),
		reg("big", random(3<<20+5, 3)), reg("hidden", random(300<<10, 4)),
	}
}

func nastyMiddle() []file {
	zeros := strings.Repeat("\x00", 1<<20)
	list := []file{
		reg(".wh.removed", ""), reg("merged/.wh.removed", ""), reg(".wh.removed-dir", ""), reg(".wh.never-there", ""), reg("nowhere/.wh.never", ""),
		reg("opaque/sub/upper", "stays"), reg("opaque/.wh..wh..opq", ""), reg("opaque/upper", "stays"),
		dir("whole", 0o711), reg("whole/upper", "stays"), reg(".wh.whole", ""),
		dated(with(dir("merged", 0o750), "user.upper", "yes"), then.Add(time.Hour)), reg("merged/replaced", "upper"), reg("merged/new", "new"),
		dir("kind", 0o755), reg("kind/below", "over a file"), reg("kind-dir", "over a directory"), reg("was-dir", "a file now"), dir("was-link", 0o755), reg("was-link/x", "of its own"),
		hardlink("late-too", "late"), reg("late", "the higher layer's own"), hardlink("hidden-link", "hidden"), reg("shadow", "middle"),
		reg("linked", "the higher layer's own"), reg("hidden-but-linked", "the higher layer's own"),
		reg("sparse-middle", "a"+zeros+"b"), reg("sparse-ends", zeros+"middle"+zeros), reg("zeros", zeros), reg("block", random(4096, 9)),
		reg(".wh..wh.plnk/1.2", "of AUFS"), hardlink("of-aufs", ".wh..wh.plnk/1.2"),
		reg("lib/upper-through-a-link", "x"), symlink("loop", "loop"),
	}
	for i := range 3000 { // more names than one block of a directory has
		list = append(list, reg(fmt.Sprintf("index/%s-%d", strings.Repeat("name", i%50), i), ""))
	}
	return list
}

func nastyTop() []file {
	return []file{
		reg("hidden", "short"), reg("shadow", "top"), reg(".wh.late", ""), dir("usr/lib", 0o751), reg("usr/lib/over-the-link", "x"),
		reg("index/.wh.-0", ""), hardlink("link-to-a-lower-one", "usr/lib/through-a-link"), dir("opaque/sub", 0o700),
	}
}

// sparse is GNU tar's archive of a file with holes.
func sparse(t testing.TB, name string, options ...string) layer {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range int64(10) {
		if _, err := f.WriteAt([]byte(random(5000, uint64(i))), i<<20+i*4096); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(f.Truncate(20<<20), os.Chtimes(f.Name(), then, then)); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("tar", append(options, "--sparse", "-C", dir, "-cf", "-", name)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}
