package base

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"noid/internal/image/flatten"
	"noid/internal/image/imagetest"
	"noid/internal/image/imagetest/listing"
)

// TestSame builds twice and gets the same bytes; of another image, another UUID.
func TestSame(t *testing.T) {
	layers := opened(nasty(t, "gnu"))
	one, two := contents(t, build(t, layers)), contents(t, build(t, layers))
	if !bytes.Equal(one, two) {
		t.Error("two builds differ")
	}
	uuid := one[1024+0x68:][:16]
	if bytes.Equal(uuid, make([]byte, 16)) || bytes.Equal(uuid, shape{}.superblock(0, 0, "sha256:other")[0x68:][:16]) {
		t.Errorf("UUID %x", uuid)
	}
}

func contents(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestTwentyLayers has what umoci unpacks of many layers that change one another's files.
func TestTwentyLayers(t *testing.T) {
	layers := layersOf(imagetest.Twenty(t))
	got, want := mounted(t, build(t, opened(layers))), unpacked(t, layers)
	imagetest.MendTwenty(want, got)
	if diff := cmp.Diff(want, got, ignoreBlocks); diff != "" {
		t.Errorf("umoci's are -, ours +:\n%s", diff)
	}
}

// TestManyNames looks up each of 100,000 names in a directory, and lists them.
func TestManyNames(t *testing.T) {
	const count = 100_000
	name := func(i int) string { return fmt.Sprintf("a name of some length, number %d", i) }
	path := build(t, []flatten.Layer{streamed(func(w *tar.Writer) {
		for i := range count {
			w.WriteHeader(&tar.Header{Name: "d/" + name(i)})
		}
	})})
	mount(t, path, func(root string) {
		entries, err := os.ReadDir(filepath.Join(root, "d"))
		if err != nil || len(entries) != count {
			t.Errorf("%d names, %v", len(entries), err)
		}
		for i := range count {
			if _, err := os.Lstat(filepath.Join(root, "d", name(i))); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := os.Lstat(filepath.Join(root, "d", name(count))); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a name that is not there: %v", err)
		}
	})
}

// TestCollisions looks up names of one hash that no single block holds.
func TestCollisions(t *testing.T) {
	ends := "ggjVAQ gqy4rP leXHIn nYDmiu okdh1g ovx2FH sd3XOr sHH0vN tnIWHD ukYRP_ wNCeCO xMko-K zCfeRJ zQFpFW 034aLz 4V9xHV 58Gv9- 81VdPT " +
		"95Ag0G ATF8E8 ClSfwQ CJ7oWi DwhC8l Dww2od EpcJf_ FADqOk H24dQN KtTHNq KT7mHG M5QQwO OxluFU OCQ6h2 Q-tA_m TgEIXV UbyQTJ VQihch"
	var list []file
	for end := range strings.FieldsSeq(ends) {
		name := strings.Repeat("x", 244) + end
		if nameHash(name) != nameHash(strings.Repeat("x", 244)+"ggjVAQ") {
			t.Fatalf("%s has another hash", end)
		}
		list = append(list, reg("d/"+name, ""), reg("d/"+end, ""))
	}
	mount(t, build(t, []flatten.Layer{pack(t, list)}), func(root string) {
		for _, f := range list {
			if _, err := os.Lstat(filepath.Join(root, f.Name)); err != nil {
				t.Error(err)
			}
		}
	})
}

// streamed is a layer that is made while it is read.
type streamed func(w *tar.Writer)

func (s streamed) Open(context.Context) (io.ReadCloser, error) {
	r, pipe := io.Pipe()
	go func() {
		w := tar.NewWriter(pipe)
		s(w)
		pipe.CloseWithError(w.Close())
	}()
	return r, nil
}

// TestManyExtents has a file of more pieces than a block of extents has, and one that is longer than an extent.
func TestManyExtents(t *testing.T) {
	var pieces strings.Builder
	for i := range 1000 {
		pieces.WriteString(random(4096, uint64(i)))
		pieces.WriteString(strings.Repeat("\x00", 128<<10))
	}
	const copies = 150
	part := random(1<<20, 1)
	got := mounted(t, build(t, []flatten.Layer{pack(t, []file{reg("pieces", pieces.String())}), streamed(func(w *tar.Writer) {
		w.WriteHeader(&tar.Header{Name: "long", Size: copies << 20})
		for range copies {
			io.WriteString(w, part)
		}
	})}))
	for name, content := range map[string]string{"pieces": pieces.String(), "long": strings.Repeat(part, copies)} {
		if got[name] == nil || got[name].Sum != listing.Sum([]byte(content)) {
			t.Errorf("%s has another content", name)
		}
	}
}

// TestMemory builds 1 GiB of files in a process of its own, which may not take more than 200 MiB.
func TestMemory(t *testing.T) {
	const mib, env = 1 << 20, "NOID_TEST_BUILD"
	if path := os.Getenv(env); path != "" {
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		part := []byte(random(mib, 1))
		if _, err := Build(t.Context(), f, []flatten.Layer{streamed(func(w *tar.Writer) {
			for i := range 60_000 {
				w.WriteHeader(&tar.Header{Name: fmt.Sprintf("usr/share/something/%d/a file of some length %d", i/20, i), Size: 8 << 10})
				w.Write(part[:8<<10])
			}
			w.WriteHeader(&tar.Header{Name: "large", Size: 600 * mib})
			for range 600 {
				w.Write(part)
			}
		})}, Options{}); err != nil {
			t.Fatal(err)
		}
		status := string(contents(t, "/proc/self/status")) // what wait4 tells is the parent's at first
		_, peak, _ := strings.Cut(status, "VmHWM:")
		var kib int
		if fmt.Sscan(peak, &kib); kib == 0 || kib > 200<<10 {
			t.Errorf("it took %d KiB", kib)
		}
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestMemory$")
	path := filepath.Join(t.TempDir(), "base.ext4")
	cmd.Env = append(os.Environ(), env+"="+path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	fsck(t, path)
}

// TestRefused has what ext4 cannot have.
func TestRefused(t *testing.T) {
	many := []file{reg("first", "")}
	for i := range maxLinks {
		many = append(many, hardlink(fmt.Sprint(i), "first"))
	}
	for want, list := range map[string][]file{
		`layer 1 of 1: "large": its extended attributes take 5024 bytes, and ext4 has room for 4064`: {with(reg("large", ""), "user.x", random(5000, 1))},
		`layer 1 of 1: "acl": its extended attribute system.posix_acl_access: it is no access`:       {with(reg("acl", ""), "system.posix_acl_access", "no list")},
		`"0": it has 65001 names, and ext4 has room for 65000`:                                       many,
	} {
		f, err := os.Create(filepath.Join(t.TempDir(), "base.ext4"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := Build(t.Context(), f, []flatten.Layer{pack(t, list)}, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestUnwritable meets a file that takes nothing.
func TestUnwritable(t *testing.T) {
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := Build(t.Context(), f, []flatten.Layer{pack(t, []file{reg("a", "x")})}, Options{}); err == nil {
		t.Error("it was built")
	}
}

// TestDebugfs reads a base as who is not root can.
func TestDebugfs(t *testing.T) {
	path := build(t, opened(nasty(t, "gnu")))
	for command, want := range map[string]string{
		"cat /usr/lib/through-a-link":      "1",
		"cat /late-too":                    "kept by a higher layer's link",
		"ea_get /many-attributes user.one": "user.one",
		"htree_dump /index":                "Root node dump",
		"stat /time/6":                     "mtime: 0xffffffff:1d6f3455 -- Sun Feb  7 06:28:15 2106",
		"stat /big-ids":                    "User: 70000   Group: -294967296",
		"stat /disk":                       "Device major/minor number: 259:70000",
		"stat " + strings.Repeat("n", 255): "Size: 12",
		"stats":                            "Filesystem features:      ext_attr dir_index filetype extent flex_bg",
		"dump -p /big " + path + ".big":    "",
		"stat /longest-link":               "Size: 4094",
		"stat /symlink-too":                `Fast link dest: "target"`,
	} {
		cmd := exec.Command("debugfs", "-R", command, path)
		cmd.Env = append(os.Environ(), "TZ=UTC")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v: %s", command, err, out)
		}
	}
	if !bytes.Equal(contents(t, path+".big"), []byte(random(3<<20+5, 3))) {
		t.Error("a large file has another content")
	}
}

// TestGrow makes a disk of a base: longer, with a journal.
func TestGrow(t *testing.T) {
	path := build(t, opened(nasty(t, "gnu")))
	if err := os.Truncate(path, 512<<20); err != nil {
		t.Fatal(err)
	}
	for _, argv := range [][]string{{"resize2fs", "-f", path}, {"tune2fs", "-J", "size=8", path}} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", argv, err, out)
		}
	}
	fsck(t, path)
	out, err := exec.Command("debugfs", "-R", "stats", path).Output()
	if err != nil || !strings.Contains(string(out), "has_journal") || !strings.Contains(string(out), "Block count:              131072") {
		t.Errorf("%v: %s", err, out)
	}
}

// FuzzBuild builds file systems of odd sizes, which e2fsck finds no fault in.
func FuzzBuild(f *testing.F) {
	for _, seed := range []string{"", "\x01\x02\x03\x04\x05\x06\x07\x08", "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn", "dafbdcxdyezf\xff\x00\xee\xff"} {
		f.Add([]byte(seed), uint16(len(seed)*111))
	}
	f.Fuzz(func(t *testing.T, data []byte, names uint16) {
		list := []file{dir("many", 0o755)}
		for i := range int(names) % 3000 {
			list = append(list, reg(fmt.Sprintf("many/%0*d", 1+i*int(names)%240, i), ""))
		}
		for i, c := range data {
			at := fmt.Sprint(strings.Repeat("d/", int(c)%5), i)
			switch c % 6 {
			case 0:
				list = append(list, with(reg(at, random(int(c)*500, 1)), "user.x", random(int(c)*10, 2), "trusted.y", string(data[:i])))
			case 1:
				list = append(list, symlink(at, strings.Repeat("x", 1+int(c))))
			case 2:
				list = append(list, with(dir(at, int64(c)), "security.z", random(int(c), 3)))
			case 3:
				list = append(list, reg(at, "x"+strings.Repeat("\x00", int(c)*1000)+"y"), hardlink(at+"-too", at))
			case 4:
				list = append(list, file{Header: tar.Header{Typeflag: tar.TypeBlock, Name: at, Devmajor: int64(c), Devminor: int64(c) << 12}})
			case 5:
				list = append(list, reg("0", random(int(c), 4)))
			}
		}
		build(t, []flatten.Layer{pack(t, list)})
	})
}

// broken is a layer whose stream fails.
type broken struct{ layer }

func (b broken) Open(ctx context.Context) (io.ReadCloser, error) {
	r, err := b.layer.Open(ctx)
	return io.NopCloser(io.MultiReader(io.LimitReader(r, 1000), failing{})), err
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("the digest is another one") }

// TestBrokenStream says what the layer says.
func TestBrokenStream(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "base.ext4"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err = Build(t.Context(), f, []flatten.Layer{broken{pack(t, []file{reg("a", random(5000, 1))})}}, Options{})
	if err == nil || err.Error() != `layer 1 of 1: "a": the digest is another one` {
		t.Error(err)
	}
}
