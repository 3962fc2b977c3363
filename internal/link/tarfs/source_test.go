package tarfs

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestKernelFiles reads files whose length stat does not tell: of any length up to a limit.
func TestKernelFiles(t *testing.T) {
	dst := t.TempDir()
	if _, err := copyTree(t, "/proc/self/status", dst, ExtractOptions{}); err != nil {
		t.Fatal(err)
	}
	if data, _ := os.ReadFile(filepath.Join(dst, "status")); !bytes.HasPrefix(data, []byte("Name:")) {
		t.Errorf("%q", data)
	}
	var stream, warned bytes.Buffer // this file has gigabytes, and a length of 0
	_, err := Create(t.Context(), &stream, []string{"/proc/self/pagemap"}, CreateOptions{Warn: func(s string) { warned.WriteString(s) }})
	if err != nil || stream.Len() < maxKernelFile || stream.Len() > maxKernelFile+maxKernelFile/10 {
		t.Errorf("a stream of %d bytes, %v", stream.Len(), err)
	}
	if got := warned.String(); got != `"pagemap" has no length: only its first 16384 KiB were copied` {
		t.Error(got)
	}
	stats, err := Extract(t.Context(), &stream, dst, ExtractOptions{Name: "pagemap"})
	if fi, statErr := os.Stat(filepath.Join(dst, "pagemap")); err != nil || statErr != nil || fi.Size() != maxKernelFile || stats.Entries != 1 {
		t.Error(stats, err, statErr)
	}
}

// TestKernelFileSystems leaves out what is mounted below a source, names it once, and is no failure. A tmpfs is copied.
func TestKernelFileSystems(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root mounts")
	}
	src, dst := filepath.Join(t.TempDir(), "src"), t.TempDir()
	write(t, filepath.Join(src, "beside"), "x")
	for _, m := range []struct{ dir, fs string }{{"proc", "proc"}, {"sys", "sysfs"}, {"dev", "tmpfs"}, {"run", "tmpfs"}} {
		dir := filepath.Join(src, m.dir)
		must(t, os.Mkdir(dir, 0o755))
		if err := syscall.Mount("test", dir, m.fs, 0, ""); err != nil {
			t.Skip("no mounts here:", err)
		}
		t.Cleanup(func() { must(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	}
	write(t, filepath.Join(src, "run", "pid"), "1")
	must(t, syscall.Mknod(filepath.Join(src, "dev", "null"), syscall.S_IFCHR|0o666, 1<<8|3))
	var warned []string
	var stream bytes.Buffer
	stats, err := Create(t.Context(), &stream, []string{src}, CreateOptions{Recursive: true, Warn: func(s string) { warned = append(warned, s) }})
	want := []string{`left out what the kernel shows in "src/dev", "src/proc", "src/sys"`}
	if err != nil || stats.Failed != 0 || !cmp.Equal(warned, want) {
		t.Error(stats, err, warned)
	}
	if _, err := Extract(t.Context(), &stream, dst, ExtractOptions{Name: "src", Recursive: true}); err != nil {
		t.Error(err)
	}
	names := []string{}
	for name := range tree(t, filepath.Join(dst, "src")) {
		names = append(names, name)
	}
	if diff := cmp.Diff([]string{".", "beside", "dev", "proc", "run", "run/pid", "sys"}, names, sorted); diff != "" {
		t.Error(diff)
	}
}

// TestKernelDirectory is a source that is itself in such a file system: it is copied, and comes to an end.
func TestKernelDirectory(t *testing.T) {
	dst := t.TempDir()
	if stats, err := copyTree(t, "/proc/sys/kernel/random", dst, ExtractOptions{Recursive: true}); err != nil || stats.Entries < 3 {
		t.Fatal(stats, err)
	}
	if data, _ := os.ReadFile(filepath.Join(dst, "random", "boot_id")); len(data) != 37 {
		t.Errorf("%q", data)
	}
}

// TestGrowingFile is copied as long as it was, without a word: a log is written to all the time.
func TestGrowingFile(t *testing.T) {
	for _, size := range []int{0, 1000, 4 << 20} {
		src, dst := filepath.Join(t.TempDir(), "src"), t.TempDir()
		write(t, src, strings.Repeat("x", size))
		f, err := os.OpenFile(src, os.O_WRONLY|os.O_APPEND, 0)
		must(t, err)
		defer f.Close()
		var stream bytes.Buffer
		grow := writer(func(b []byte) (int, error) {
			f.Write(make([]byte, 1<<20))
			return stream.Write(b)
		})
		if _, err := Create(t.Context(), grow, []string{src}, CreateOptions{Warn: func(s string) { t.Error(s) }}); err != nil {
			t.Fatal(err)
		}
		if stats, err := Extract(t.Context(), &stream, dst, ExtractOptions{Name: "src"}); err != nil || stats.Bytes != int64(size) {
			t.Error(size, stats, err)
		}
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

// TestFlow copies what has no length and no end before its writer says so: a FIFO, standard input of each kind.
func TestFlow(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", 1<<16+1) // more than a piece
	dir := t.TempDir()
	fifo, plain := filepath.Join(dir, "fifo"), filepath.Join(dir, "plain")
	must(t, syscall.Mkfifo(fifo, 0o600))
	write(t, plain, "skipped\n"+content)
	check := func(name, src string, stdin func() io.ReadCloser, want string) {
		dst := t.TempDir()
		var out bytes.Buffer
		cmd := exec.Command(os.Args[0], CreateArgs(CreateOptions{}, src)...)
		cmd.Env = append(os.Environ(), "NOID_TEST_TOOL=1")
		in := stdin()
		defer in.Close()
		cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, os.Stderr
		if err := cmd.Run(); err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		stats, err := Extract(t.Context(), &out, dst, ExtractOptions{Name: BaseName(src)})
		data, _ := os.ReadFile(filepath.Join(dst, BaseName(src)))
		if err != nil || string(data) != want || stats.Entries != 1 {
			t.Errorf("%s: %+v, %v, %d bytes", name, stats, err, len(data))
		}
	}
	open := func(name string, skip int64) func() io.ReadCloser {
		return func() io.ReadCloser {
			f, err := os.Open(name)
			must(t, err)
			_, err = f.Seek(skip, io.SeekStart)
			must(t, err)
			return f
		}
	}
	pipe := func(content string) func() io.ReadCloser {
		return func() io.ReadCloser {
			r, w, err := os.Pipe()
			must(t, err)
			go func() {
				io.WriteString(w, content)
				w.Close()
			}()
			return r
		}
	}
	socket := func() io.ReadCloser {
		fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		must(t, err)
		go func() {
			w := os.NewFile(uintptr(fds[1]), "w")
			io.WriteString(w, content)
			w.Close()
		}()
		return os.NewFile(uintptr(fds[0]), "r")
	}
	check("pipe", "/dev/stdin", pipe(content), content)
	check("a whole number of pieces", "/dev/fd/0", pipe(content[:512<<10]), content[:512<<10])
	check("nothing", "/proc/self/fd/0", pipe(""), "")
	check("a file, from where it stands", "/dev/stdin", open(plain, 8), content)
	check("a device", "/dev/stdin", open("/dev/null", 0), "")
	check("a device by name", "/dev/null", open("/dev/null", 0), "")
	check("a socket", "/dev/stdin", socket, content)
	go os.WriteFile(fifo, []byte(content), 0)
	check("a FIFO", fifo, open("/dev/null", 0), content)
}

// TestMain is also one of the tools, for tests that need a process of their own.
func TestMain(m *testing.M) {
	if os.Getenv("NOID_TEST_TOOL") != "" {
		os.Exit(Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// TestHostilePieces refuses a file that goes on as something else.
func TestHostilePieces(t *testing.T) {
	more := map[string]string{moreRecord: "1"}
	for name, entries := range map[string][]tar.Header{
		"another name":     {{Name: "data/x", PAXRecords: more}, file("data/y")},
		"a link":           {{Name: "data/x", PAXRecords: more}, symlink("data/x", "/etc/passwd")},
		"a directory":      {{Name: "data/x", PAXRecords: more}, dir("data/x")},
		"nothing":          {{Name: "data/x", PAXRecords: more}},
		"after a map":      {{Name: "data/x", PAXRecords: map[string]string{moreRecord: "1", sparseRecord: "100,0+2,8+2"}}, file("data/x")},
		"out of the place": {{Name: "data/x", PAXRecords: more}, file("../x")},
	} {
		dst := t.TempDir()
		_, err := Extract(t.Context(), archive(t, append([]tar.Header{dir("data")}, entries...)...), dst, ExtractOptions{Name: "data", Recursive: true})
		if left := tree(t, dst); err == nil || !errors.Is(err, ErrArchive) || len(left) != 2 {
			t.Errorf("%s: %v, left %v", name, err, left)
		}
	}
}

// TestPiecesOfNoPlace skips the rest of a file that cannot be written, and goes on with the next.
func TestPiecesOfNoPlace(t *testing.T) {
	dst, warned := t.TempDir(), 0
	must(t, os.MkdirAll(filepath.Join(dst, "data", "x"), 0o755))
	more := tar.Header{Name: "data/x", PAXRecords: map[string]string{moreRecord: "1"}}
	stream := archive(t, dir("data"), more, more, file("data/x"), file("data/y"))
	stats, err := Extract(t.Context(), stream, dst, ExtractOptions{Name: "data", Recursive: true, Warn: func(string) { warned++ }})
	if err != nil || stats.Failed != 1 || warned != 1 || stats.Entries != 2 {
		t.Error(stats, err, warned)
	}
}
