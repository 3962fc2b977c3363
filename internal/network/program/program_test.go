package program

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"noid/internal/errs"
)

// pack has noid embed a program.
func pack(t *testing.T, program string) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write([]byte(program))
	z.Close()
	all := files
	files = fstest.MapFS{name + ".gz": {Data: b.Bytes()}, name + ".sha256": {Data: fmt.Appendf(nil, "%x\n", sha256.Sum256(b.Bytes()))}}
	t.Cleanup(func() { files = all })
}

// TestUnpack has many at a time get the whole program, which can be run, and keep the one of another noid for a while.
func TestUnpack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "programs")
	pack(t, "#!/bin/sh\necho old\n")
	old, err := Unpack(dir)
	if err != nil {
		t.Fatal(err)
	}
	pack(t, "#!/bin/sh\necho new\n")
	var all sync.WaitGroup
	var paths [8]string
	for i := range paths {
		all.Go(func() {
			var err error
			if paths[i], err = Unpack(dir); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait() // a child of this process could have a file open for writing that another goroutine has just made
	for _, path := range paths {
		if out, err := exec.Command(path).Output(); string(out) != "new\n" || err != nil {
			t.Errorf("%q, %v", out, err)
		}
	}
	if _, err := os.Stat(old); err != nil {
		t.Errorf("the other noid's: %v", err)
	}
	long := time.Now().Add(-2 * unused)
	if err := os.Chtimes(old, long, long); err != nil {
		t.Fatal(err)
	}
	pack(t, "newest")
	if _, err := Unpack(dir); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 2 {
		t.Errorf("in the directory: %q", left)
	}
}

// TestWithout is a noid that a plain 'go build' made.
func TestWithout(t *testing.T) {
	all := files
	files = fstest.MapFS{}
	defer func() { files = all }()
	dir := t.TempDir()
	if _, err := Unpack(dir); Has() || !errors.Is(err, errs.ErrHost) || errs.Hint(err) != "build noid with 'make build'" {
		t.Errorf("%v", err)
	}
}

// TestCurrent builds the program again, elsewhere, and compares, for both architectures.
func TestCurrent(t *testing.T) {
	if !Has() {
		t.Fatal("noid-net is not built: run 'make programs', then go test again")
	}
	dir := t.TempDir()
	if out, err := exec.Command("../../../scripts/programs.sh", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		fresh, err := os.ReadFile(filepath.Join(dir, "net", arch, name+".gz"))
		if err != nil {
			t.Fatal(err)
		}
		sum, err := fs.ReadFile(os.DirFS(arch), name+".sha256")
		if want := fmt.Sprintf("%x", sha256.Sum256(fresh)); err != nil || strings.TrimSpace(string(sum)) != want {
			t.Errorf("the embedded %s for %s is not what the sources build now (%v): run 'make programs', then go test again", name, arch, err)
		}
	}
}
