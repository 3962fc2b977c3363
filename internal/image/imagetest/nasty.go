package imagetest

import (
	"archive/tar"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"noid/internal/image/imagetest/listing"
)

const capability = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

func accessList(users int) string {
	entries := []string{"\x01\x00\x06\x00\xff\xff\xff\xff"}
	for i := range users {
		entries = append(entries, "\x02\x00\x07\x00"+string(binary.LittleEndian.AppendUint32(nil, uint32(1000+i))))
	}
	entries = append(entries, "\x04\x00\x04\x00\xff\xff\xff\xff", "\x10\x00\x07\x00\xff\xff\xff\xff", "\x20\x00\x04\x00\xff\xff\xff\xff")
	return "\x02\x00\x00\x00" + strings.Join(entries, "")
}

// Nasty are layers with every odd thing that the formats allow. Umoci knows holes in one format only.
func Nasty(t testing.TB, holes string) [][]byte {
	return [][]byte{Pack(t, nastyBottom()), Pack(t, nil), Pack(t, nastyMiddle()),
		sparse(t, "sparse-gnu", "--format="+holes), sparse(t, "sparse-0.0", "--format=posix", "--sparse-version=0.0"),
		sparse(t, "sparse-0.1", "--format=posix", "--sparse-version=0.1"), sparse(t, "sparse-1.0", "--format=posix", "--sparse-version=1.0"),
		Pack(t, nastyTop())}
}

func nastyBottom() []File {
	list := []File{
		Owned(Dir("./", 0o755), 0, 0),
		Dir("usr", 0o755), Dir("usr/lib", 0o755), Symlink("lib", "usr/lib"), Symlink("abs", "/usr/lib"), Symlink("up", "../../usr/./lib/../lib"),
		Reg("lib/through-a-link", "1"), Reg("abs/through-an-absolute-link", "2"), Reg("./up//through-dots", "3"), Reg("/absolute", "4"),
		Symlink("dangling", "not/yet/there"), Reg("dangling/implied", "5"), Reg("no/parents/at/all", "6"),
		Owned(Reg("big-ids", "ids"), 70_000, 4_000_000_000), Reg("empty", ""),
		Dir("sticky", 0o1777), Dir("setgid", 0o2755),
		Symlink("long-link", strings.Repeat("x", 59)), Symlink("longer-link", strings.Repeat("y", 60)), Symlink("longest-link", strings.Repeat("/z", 2047)),
		Owned(Symlink("owned-link", "nowhere"), 7, 8),
		Reg("not-\xff\xfe-utf8\x80", "bytes"), Reg("ümlaut\u202e", "unicode"), Reg(strings.Repeat("n", 255), "longest name"),
		Reg("new\nline\t ", "white"), Reg("\\", "backslash"),
		{Header: tar.Header{Typeflag: tar.TypeChar, Name: "null", Mode: 0o666, Devmajor: 1, Devminor: 3, ModTime: Then}},
		{Header: tar.Header{Typeflag: tar.TypeBlock, Name: "disk", Mode: 0o660, Devmajor: 259, Devminor: 70_000, ModTime: Then}},
		{Header: tar.Header{Typeflag: tar.TypeFifo, Name: "fifo", Mode: 0o600, ModTime: Then}},
		With(Reg("ping", "cap"), "security.capability", capability), With(Dir("attributed", 0o755), "user.a", "1", "user.empty", ""),
		With(Reg("many-attributes", "x"), "user.one", Random(1000, 1), "user.two", Random(1500, 2), "trusted.three", "3", "user.a", "\x00\x01\xff"),
		With(Reg("foreign", "x"), "com.apple.quarantine", "no", "system.data", "no", "user.kept", "yes"),
		With(Reg("overlay", "x"), "trusted.overlay.redirect", "/etc"),
		With(Reg("listed", "x"), "system.posix_acl_access", accessList(1)), With(Reg("much-listed", "x"), "system.posix_acl_access", accessList(40)),
		With(Dir("listed-dir", 0o755), "system.posix_acl_default", accessList(2)),
		{tar.Header{Name: "libarchive", Mode: 0o644, ModTime: Then, Format: tar.FormatPAX, PAXRecords: map[string]string{"LIBARCHIVE.xattr.user.a%20b": "dmFsdWU="}}, "x"},
	}
	list[len(list)-5].Mode, list[len(list)-4].Mode, list[len(list)-3].Mode = 0o644, 0o674, 0o674
	setuid := Reg("setuid", "run me")
	setuid.Mode = 0o6755
	list = append(list, setuid)
	for i, sec := range []int64{-1, -2147483647, -14182940, 0, 2147483647, 2147483648, 4294967295, 4294967296, 8589934592, 15032385534} {
		list = append(list, Dated(Reg(fmt.Sprint("time/", i), ""), time.Unix(sec, 123456789)))
	}
	return append(list, nastyLower()...)
}

// nastyLower are files for the layers above to change.
func nastyLower() []File {
	return []File{
		Reg("twice", "first"), Reg("twice", "second and longer"), Reg("kind", "file"), Dir("kind-dir", 0o755), Reg("kind-dir/below", "gone"),
		Dir("merged", 0o700), Reg("merged/lower", "stays"), Reg("merged/replaced", "lower"), Reg("merged/removed", "gone"),
		Dir("opaque", 0o755), Reg("opaque/lower", "gone"), Dir("opaque/sub", 0o755), Reg("opaque/sub/lower", "gone"),
		Dir("whole", 0o755), Reg("whole/lower", "gone"), Reg("removed", "gone"), Dir("removed-dir", 0o755), Reg("removed-dir/x", "gone"),
		Reg("linked", "the lower file's content"), Hardlink("linked-too", "./linked"), Hardlink("lib/linked-below", "/linked"),
		Symlink("linked-symlink", "target"), Hardlink("symlink-too", "linked-symlink"),
		Reg("hidden-but-linked", "kept by the other name"), Hardlink("other-name", "hidden-but-linked"),
		Reg("late", "kept by a higher layer's link"), Reg("shadow", "lower"), Dir("was-dir", 0o755), Reg("was-dir/x", "gone"), Symlink("was-link", "merged"),
		Reg("big", Random(3<<20+5, 3)), Reg("hidden", Random(300<<10, 4)),
	}
}

func nastyMiddle() []File {
	zeros := strings.Repeat("\x00", 1<<20)
	list := []File{
		Reg(".wh.removed", ""), Reg("merged/.wh.removed", ""), Reg(".wh.removed-dir", ""), Reg(".wh.never-there", ""), Reg("nowhere/.wh.never", ""),
		Reg("opaque/sub/upper", "stays"), Reg("opaque/.wh..wh..opq", ""), Reg("opaque/upper", "stays"),
		Dir("whole", 0o711), Reg("whole/upper", "stays"), Reg(".wh.whole", ""),
		Dated(With(Dir("merged", 0o750), "user.upper", "yes"), Then.Add(time.Hour)), Reg("merged/replaced", "upper"), Reg("merged/new", "new"),
		Dir("kind", 0o755), Reg("kind/below", "over a file"), Reg("kind-dir", "over a directory"), Reg("was-dir", "a file now"), Dir("was-link", 0o755), Reg("was-link/x", "of its own"),
		Hardlink("late-too", "late"), Reg("late", "the higher layer's own"), Hardlink("hidden-link", "hidden"), Reg("shadow", "middle"),
		Reg("linked", "the higher layer's own"), Reg("hidden-but-linked", "the higher layer's own"),
		Reg("sparse-middle", "a"+zeros+"b"), Reg("sparse-ends", zeros+"middle"+zeros), Reg("zeros", zeros), Reg("block", Random(4096, 9)),
		Reg(".wh..wh.plnk/1.2", "of AUFS"), Hardlink("of-aufs", ".wh..wh.plnk/1.2"),
		Reg("lib/upper-through-a-link", "x"), Symlink("loop", "loop"),
	}
	for i := range 3000 { // more names than one block of a directory has
		list = append(list, Reg(fmt.Sprintf("index/%s-%d", strings.Repeat("name", i%50), i), ""))
	}
	return list
}

func nastyTop() []File {
	return []File{
		Reg("hidden", "short"), Reg("shadow", "top"), Reg(".wh.late", ""), Dir("usr/lib", 0o751), Reg("usr/lib/over-the-link", "x"),
		Reg("index/.wh.-0", ""), Hardlink("link-to-a-lower-one", "usr/lib/through-a-link"), Dir("opaque/sub", 0o700),
	}
}

// sparse is GNU tar's archive of a file with holes.
func sparse(t testing.TB, name string, options ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range int64(10) {
		if _, err := f.WriteAt([]byte(Random(5000, uint64(i))), i<<20+i*4096); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(f.Truncate(20<<20), os.Chtimes(f.Name(), Then, Then)); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("tar", append(options, "--sparse", "-C", dir, "-cf", "-", name)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// MendNasty corrects what umoci gets wrong of Nasty. Where its time is the present one, got knows better.
func MendNasty(umocis, got map[string]*listing.File) {
	takeTimes(umocis, got, ".", "not", "not/yet", "not/yet/there", "no", "no/parents", "no/parents/at", "time", "index")
	umocis["whole"].Time = Then.UTC()                               // its whiteout is of now
	umocis["time/9"].Time = time.Unix(15032385534, 123456789).UTC() // which umoci's 64 bits of nanoseconds do not reach
	delete(umocis, ".wh..wh.plnk")                                  // what umoci leaves of AUFS
	delete(umocis, ".wh..wh.plnk/1.2")
	umocis["."].Links--
	umocis["of-aufs"].Links, umocis["of-aufs"].First = 1, "of-aufs"
	umocis["attributed"].Xattrs["user.empty"] = "" // which the Go library that umoci uses takes for none
	umocis["libarchive"].Xattrs = map[string]string{"user.a b": "value"}
}

// MendTwenty is MendNasty for Twenty.
func MendTwenty(umocis, got map[string]*listing.File) { takeTimes(umocis, got, ".", "own", "d") }

func takeTimes(umocis, got map[string]*listing.File, names ...string) {
	for _, name := range names {
		if of := got[name]; of != nil { // else it is missed anyway
			umocis[name].Time = of.Time
		}
	}
}
