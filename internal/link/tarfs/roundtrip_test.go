package tarfs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"noid/internal/errs"
)

// copyTree copies src to dst the way that noid cp does.
func copyTree(t *testing.T, src, dst string, opts ExtractOptions) (Stats, error) {
	t.Helper()
	var stream bytes.Buffer
	if _, err := Create(t.Context(), &stream, []string{src}, CreateOptions{Recursive: opts.Recursive, Owners: opts.Owners, Warn: func(s string) { t.Error(s) }}); err != nil {
		return Stats{}, err
	}
	opts.Name = BaseName(src)
	if opts.Warn == nil {
		opts.Warn = func(s string) { t.Log(s) }
	}
	return Extract(t.Context(), &stream, dst, opts)
}

// node is what a test compares of a file.
type node struct {
	Mode    string
	Time    int64
	Content string
	Inode   string // the first name of a file with several
}

// tree lists what is below dir.
func tree(t *testing.T, dir string) map[string]node {
	t.Helper()
	nodes, inodes := map[string]node{}, map[uint64]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, p)
		n := node{Mode: fi.Mode().String(), Time: fi.ModTime().UnixNano()}
		switch {
		case fi.Mode().IsRegular():
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			n.Content = string(data)
			ino := fi.Sys().(*syscall.Stat_t).Ino
			if inodes[ino] == "" {
				inodes[ino] = name
			}
			n.Inode = inodes[ino]
		case fi.Mode()&fs.ModeSymlink != 0:
			n.Content, err = os.Readlink(p)
		}
		nodes[name] = n
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return nodes
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// oddTree makes a tree of everything that cp keeps.
func oddTree(t *testing.T, dir string) {
	for _, name := range []string{"plain", "with space", "new\nline", "ünïcödé", "bad\xff\xfeutf8", "back\\slash", "-rf", strings.Repeat("n", 255),
		"sub/deeper/file", "sub/..dots", "sub/.noid-looks-temporary"} {
		write(t, filepath.Join(dir, name), "content of "+name)
	}
	write(t, filepath.Join(dir, "empty"), "")
	write(t, filepath.Join(dir, "big"), strings.Repeat("0123456789abcdef", 1<<16))
	if os.Getuid() == 0 { // who alone can read it
		write(t, filepath.Join(dir, "secret"), "none may read it")
		must(t, os.Chmod(filepath.Join(dir, "secret"), 0))
	}
	must(t, os.Symlink("plain", filepath.Join(dir, "link")))
	must(t, os.Symlink("/etc/passwd", filepath.Join(dir, "link out")))
	must(t, os.Symlink("../../../nowhere", filepath.Join(dir, "sub", "broken")))
	must(t, os.Symlink(strings.Repeat("l", 4000), filepath.Join(dir, "sub", "long")))
	must(t, os.Link(filepath.Join(dir, "plain"), filepath.Join(dir, "sub", "hard")))
	must(t, os.Link(filepath.Join(dir, "link"), filepath.Join(dir, "sub", "hard link to a link")))
	must(t, os.Mkdir(filepath.Join(dir, "nothing in it"), 0o711))
	at := time.Date(2001, 2, 3, 4, 5, 6, 123456789, time.UTC)
	must(t, os.Chtimes(filepath.Join(dir, "plain"), at, at))
	must(t, os.Chtimes(filepath.Join(dir, "empty"), at, time.Unix(-1000, 5)))
	ts := unix.NsecToTimespec(at.UnixNano())
	must(t, unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(dir, "link"), []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
	must(t, os.Chmod(filepath.Join(dir, "sub", "deeper"), 0o555))
	must(t, os.Chtimes(filepath.Join(dir, "sub", "deeper"), at, at))
	must(t, os.Chtimes(filepath.Join(dir, "sub"), at, at))
	t.Cleanup(func() { os.Chmod(filepath.Join(dir, "sub", "deeper"), 0o755) })
}

func TestRoundTrip(t *testing.T) {
	src, dst := filepath.Join(t.TempDir(), "src"), t.TempDir()
	oddTree(t, src)
	want := tree(t, src)
	stats, err := copyTree(t, src, dst, ExtractOptions{Recursive: true})
	if err != nil || stats.Failed != 0 {
		t.Fatal(stats, err)
	}
	if diff := cmp.Diff(want, tree(t, filepath.Join(dst, "src"))); diff != "" {
		t.Error(diff)
	}
	// Once more, over what is there: every file is replaced.
	must(t, os.Chmod(filepath.Join(dst, "src", "sub", "deeper"), 0o755))
	defer os.Chmod(filepath.Join(dst, "src", "sub", "deeper"), 0o755)
	want["sub/deeper"] = node{Mode: "drwxr-xr-x", Inode: want["sub/deeper"].Inode}
	if stats, err := copyTree(t, src, dst, ExtractOptions{Recursive: true}); err != nil || stats.Failed != 0 {
		t.Fatal(stats, err)
	}
	if diff := cmp.Diff(want, tree(t, filepath.Join(dst, "src")), ignoreDirTimes); diff != "" {
		t.Error("second time:", diff)
	}
}

// ignoreDirTimes is for directories that were there before, whose times are not set.
var ignoreDirTimes = cmp.Transformer("ignoreDirTimes", func(n node) node {
	if strings.HasPrefix(n.Mode, "d") {
		n.Time = 0
	}
	return struct{ node }{n}.node
})

func TestDeepPaths(t *testing.T) {
	src, dst := filepath.Join(t.TempDir(), "src"), t.TempDir()
	must(t, os.Mkdir(src, 0o755))
	at, err := os.OpenRoot(src)
	must(t, err)
	names := []string{}
	for range 40 { // 10,000 bytes: more than a system call takes
		name := strings.Repeat("d", 250)
		must(t, at.Mkdir(name, 0o755))
		next, err := at.OpenRoot(name)
		must(t, err)
		at.Close()
		at, names = next, append(names, name)
	}
	must(t, at.WriteFile("bottom", []byte("here"), 0o600))
	at.Close()
	if stats, err := copyTree(t, src, dst, ExtractOptions{Recursive: true}); err != nil || stats.Failed != 0 {
		t.Fatal(stats, err)
	}
	root, err := os.OpenRoot(filepath.Join(dst, "src"))
	must(t, err)
	defer root.Close()
	if data, err := root.ReadFile(strings.Join(append(names, "bottom"), "/")); string(data) != "here" {
		t.Fatal(data, err)
	}
}

func TestTooDeep(t *testing.T) {
	dir := t.TempDir()
	src := filepath.Join(dir, "src")
	must(t, os.MkdirAll(filepath.Join(src, strings.Repeat("d/", maxDepth+5)), 0o755))
	warned := ""
	stats, err := Create(t.Context(), io.Discard, []string{src}, CreateOptions{Recursive: true, Warn: func(s string) { warned = s }})
	if err != nil || stats.Failed != 1 || !strings.Contains(warned, "directories deep") {
		t.Error(stats, err, warned)
	}
}

func blocks(t *testing.T, name string) int64 {
	t.Helper()
	fi, err := os.Stat(name)
	must(t, err)
	return fi.Sys().(*syscall.Stat_t).Blocks * 512
}

func TestSparse(t *testing.T) {
	for _, tt := range []struct {
		name  string
		size  int64
		write []int64 // 4096 bytes at each
	}{
		{"all hole", 64 << 20, nil},
		{"hole at the end", 64 << 20, []int64{0, 4096}},
		{"hole at the beginning", 64<<20 + 4096, []int64{64 << 20}},
		{"in the middle", 1<<40 + 77, []int64{1 << 20, 1 << 30, 1 << 39}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			src, dst := filepath.Join(t.TempDir(), "src"), t.TempDir()
			f, err := os.Create(src)
			must(t, err)
			for i, off := range tt.write {
				_, err := f.WriteAt(bytes.Repeat([]byte{byte('a' + i)}, 4096), off)
				must(t, err)
			}
			must(t, f.Truncate(tt.size))
			must(t, f.Close())
			if blocks(t, src) > 1<<20 {
				t.Skip("this file system has no sparse files")
			}
			if stats, err := copyTree(t, src, dst, ExtractOptions{}); err != nil || stats.Bytes != int64(len(tt.write))*4096 {
				t.Fatal(stats, err)
			}
			got := filepath.Join(dst, "src")
			if blocks(t, got) > blocks(t, src) {
				t.Errorf("%d bytes allocated, the original has %d", blocks(t, got), blocks(t, src))
			}
			g, err := os.Open(got)
			must(t, err)
			defer g.Close()
			if fi, _ := g.Stat(); fi.Size() != tt.size {
				t.Errorf("%d bytes, want %d", fi.Size(), tt.size)
			}
			for i, off := range tt.write {
				buf := make([]byte, 4096)
				if _, err := g.ReadAt(buf, off); err != nil || !bytes.Equal(buf, bytes.Repeat([]byte{byte('a' + i)}, 4096)) {
					t.Errorf("at %d: %q %v", off, buf[:8], err)
				}
			}
		})
	}
}

// TestManyHoles has more holes than a map may have extents: the smaller ones are filled.
func TestManyHoles(t *testing.T) {
	src, dst := filepath.Join(t.TempDir(), "src"), t.TempDir()
	f, err := os.Create(src)
	must(t, err)
	for i := range int64(maxExtents + 10) {
		_, err := f.WriteAt([]byte{1}, i*8192)
		must(t, err)
	}
	must(t, f.Truncate(1<<30))
	must(t, f.Close())
	if stats, err := copyTree(t, src, dst, ExtractOptions{}); err != nil || stats.Bytes > 100<<20 {
		t.Fatal(stats, err)
	}
	want, err := os.Open(src)
	must(t, err)
	defer want.Close()
	got, err := os.Open(filepath.Join(dst, "src"))
	must(t, err)
	defer got.Close()
	a, b := make([]byte, (maxExtents+20)*8192), make([]byte, (maxExtents+20)*8192)
	_, err = want.ReadAt(a, 0)
	must(t, err)
	_, err = got.ReadAt(b, 0)
	must(t, err)
	if !bytes.Equal(a, b) {
		t.Error("the copy differs")
	}
}

// TestDestination is cp's rules for what the copy is called.
func TestDestination(t *testing.T) {
	const file, dir = "src/file", "src/dir"
	for _, tt := range []struct {
		name, src, dst string
		want           string // where the content is
		kind           error
		text           string
	}{
		{name: "file into directory", src: file, dst: "d", want: "d/file"},
		{name: "file into directory/", src: file, dst: "d/", want: "d/file"},
		{name: "file into link to directory", src: file, dst: "dlink", want: "d/file"},
		{name: "file, new name", src: file, dst: "new", want: "new"},
		{name: "file over file", src: file, dst: "f", want: "f"},
		{name: "file over link to file", src: file, dst: "flink", want: "f"},
		{name: "file over directory", src: file, dst: "taken", text: "is a directory"},
		{name: "file, new name/", src: file, dst: "new/", kind: errs.ErrNotFound, text: "no such directory"},
		{name: "file over file/", src: file, dst: "f/", text: "not a directory"},
		{name: "file over broken link", src: file, dst: "broken", text: "link to nothing"},
		{name: "file over socket", src: file, dst: "src/socket", text: "not replaced"},
		{name: "directory over fifo", src: dir, dst: "fifo", text: "is a FIFO, not a directory"},
		{name: "file, no parent", src: file, dst: "no/new", kind: errs.ErrNotFound},
		{name: "link", src: "src/link", dst: "new", want: "new"},
		{name: "no such file", src: "src/no", dst: "new", kind: errs.ErrNotFound},
		{name: "file/", src: file + "/", dst: "new", text: "not a directory"},
		{name: "socket", src: "src/socket", dst: "new", text: "is a socket"},
		{name: "directory into directory", src: dir, dst: "d", want: "d/dir/x"},
		{name: "directory, new name", src: dir, dst: "new", want: "new/x"},
		{name: "directory, new name/", src: dir, dst: "new/", want: "new/x"},
		{name: "directory over file", src: dir, dst: "f", text: "not a directory"},
		{name: "directory into directory with a file of that name", src: dir, dst: "taken", text: "not a directory"},
		{name: "directory, no parent", src: dir, dst: "no/new", kind: errs.ErrNotFound},
		{name: "contents into directory", src: dir + "/.", dst: "d", want: "d/x"},
		{name: "contents, new name", src: dir + "/.", dst: "new", want: "new/x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			write(t, file, "content")
			write(t, dir+"/x", "content")
			write(t, "f", "old")
			write(t, "taken/dir", "a file")
			must(t, os.MkdirAll("taken/file", 0o755))
			must(t, os.Mkdir("d", 0o755))
			must(t, os.Symlink("file", "src/link"))
			must(t, os.Symlink("d", "dlink"))
			must(t, os.Symlink("f", "flink"))
			must(t, os.Symlink("nothing", "broken"))
			must(t, syscall.Mkfifo("fifo", 0o600))
			must(t, syscall.Mknod("src/socket", syscall.S_IFSOCK|0o600, 0))
			_, err := copyTree(t, tt.src, tt.dst, ExtractOptions{Recursive: strings.HasPrefix(tt.src, dir)})
			if tt.want != "" {
				if data, _ := os.ReadFile(tt.want); err != nil || string(data) != "content" {
					t.Errorf("%q %v", data, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.text) || tt.kind != nil && !errors.Is(err, tt.kind) {
				t.Errorf("got %v", err)
			}
			if old, _ := filepath.Glob("*/" + tempPrefix + "*"); old != nil {
				t.Error("left behind", old)
			}
		})
	}
}

func TestDirectoryNeedsRecursive(t *testing.T) {
	if _, err := Create(t.Context(), io.Discard, []string{t.TempDir()}, CreateOptions{}); !errors.Is(err, errs.ErrUsage) {
		t.Error(err)
	}
}

func TestSpecialFilesAreSkipped(t *testing.T) {
	src, dst := filepath.Join(t.TempDir(), "src"), t.TempDir()
	write(t, filepath.Join(src, "x"), "x")
	must(t, syscall.Mkfifo(filepath.Join(src, "fifo"), 0o600))
	var warned []string
	var stream bytes.Buffer
	stats, err := Create(t.Context(), &stream, []string{src}, CreateOptions{Recursive: true, Warn: func(s string) { warned = append(warned, s) }})
	if err != nil || stats.Failed != 1 || !cmp.Equal(warned, []string{`"src/fifo" is a FIFO: skipped`}) {
		t.Error(stats, err, warned)
	}
	if _, err := Extract(t.Context(), &stream, dst, ExtractOptions{Name: "src", Recursive: true}); err != nil {
		t.Error(err)
	}
}

func TestSpecialBits(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root gives files away")
	}
	src := filepath.Join(t.TempDir(), "src")
	write(t, src, "x")
	must(t, os.Chown(src, 1234, 2345))
	must(t, os.Chmod(src, fs.ModeSetuid|0o755))
	for _, tt := range []struct {
		owners   bool
		uid, gid uint32
		mode     string
	}{{true, 1234, 2345, "urwxr-xr-x"}, {false, 0, 0, "-rwxr-xr-x"}} {
		dst := t.TempDir()
		if _, err := copyTree(t, src, dst, ExtractOptions{Owners: tt.owners}); err != nil {
			t.Fatal(err)
		}
		fi, err := os.Stat(filepath.Join(dst, "src"))
		must(t, err)
		st := fi.Sys().(*syscall.Stat_t)
		if st.Uid != tt.uid || st.Gid != tt.gid || fi.Mode().String() != tt.mode {
			t.Errorf("owners %v: %d:%d %v", tt.owners, st.Uid, st.Gid, fi.Mode())
		}
	}
}

// TestShrinkingFile sends zeros for what a file lost after its header was sent.
func TestShrinkingFile(t *testing.T) {
	src, dst := filepath.Join(t.TempDir(), "src"), t.TempDir()
	write(t, src, strings.Repeat("x", 4<<20))
	var warned []string
	r, w := io.Pipe()
	go func() {
		_, err := Create(context.Background(), w, []string{src}, CreateOptions{Warn: func(s string) { warned = append(warned, s) }})
		w.CloseWithError(err)
	}()
	head := make([]byte, 2048) // the header has been sent, so the size is fixed
	_, err := io.ReadFull(r, head)
	must(t, err)
	must(t, os.Truncate(src, 1<<20))
	stats, err := Extract(t.Context(), io.MultiReader(bytes.NewReader(head), r), dst, ExtractOptions{Name: "src"})
	if err != nil || stats.Bytes != 4<<20 || len(warned) != 1 {
		t.Error(stats, err, warned)
	}
}

// TestCancel leaves nothing behind, though the stream stands still.
func TestCancel(t *testing.T) {
	src, dst := filepath.Join(t.TempDir(), "src"), t.TempDir()
	write(t, filepath.Join(src, "x"), strings.Repeat("x", 1<<20))
	write(t, filepath.Join(dst, "src", "x"), "old")
	var stream bytes.Buffer
	_, err := Create(t.Context(), &stream, []string{src}, CreateOptions{Recursive: true})
	must(t, err)
	r, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		w.Write(stream.Bytes()[:700<<10])
		cancel()
	}()
	if _, err := Extract(ctx, r, dst, ExtractOptions{Name: "src", Recursive: true}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	got := tree(t, dst)
	if len(got) != 3 || got["src/x"].Content != "old" {
		t.Errorf("left behind: %v", got)
	}
}

// TestCutOff cuts a stream everywhere: it is never taken for a whole one, and no file is half there.
func TestCutOff(t *testing.T) {
	src := filepath.Join(t.TempDir(), "src")
	write(t, filepath.Join(src, "a"), strings.Repeat("a", 1000))
	write(t, filepath.Join(src, "zeros"), strings.Repeat("\x00", 2048))
	var stream bytes.Buffer
	_, err := Create(t.Context(), &stream, []string{src}, CreateOptions{Recursive: true})
	must(t, err)
	end := stream.Len() - 1024 - 512 // the two blocks of zeros that end every tar and the padding before them do not matter
	for n := 0; n < end; n += 256 {
		dst := t.TempDir()
		_, err := Extract(t.Context(), bytes.NewReader(stream.Bytes()[:n]), dst, ExtractOptions{Name: "src", Recursive: true})
		if !errors.Is(err, ErrArchive) {
			t.Errorf("cut at %d of %d: %v", n, end, err)
		}
		for name, node := range tree(t, dst) {
			if len(node.Content) != map[string]int{"src/a": 1000, "src/zeros": 2048}[name] {
				t.Errorf("cut at %d: %q has %d bytes", n, name, len(node.Content))
			}
		}
	}
}
