package program

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"noid/internal/errs"
)

// TestWithout is a noid that a plain 'go build' made.
func TestWithout(t *testing.T) {
	all := files
	files = fstest.MapFS{}
	defer func() { files = all }()
	_, err := Name()
	_, err2 := Unpack()
	for _, err := range []error{err, err2} {
		if !errors.Is(err, errs.ErrHost) || errs.Hint(err) != "build noid with 'make build'" {
			t.Errorf("%v", err)
		}
	}
}

// TestCurrent builds the program again, elsewhere, and compares, for both architectures. Its name tells its contents.
func TestCurrent(t *testing.T) {
	name, err := Name()
	if err != nil {
		t.Fatal("noid-sshd is not built: run 'make programs', then go test again")
	}
	packed, err := fs.ReadFile(files, "noid-sshd.gz")
	if sum := sha256.Sum256(packed); err != nil || !strings.HasSuffix(name, "-"+hex.EncodeToString(sum[:])[:digits]) {
		t.Errorf("it is called %s: %v", name, err)
	}
	if program, err := Unpack(); err != nil || !bytes.HasPrefix(program, []byte("\x7fELF")) {
		t.Errorf("unpacked: %v", err)
	}
	dir := t.TempDir()
	if out, err := exec.Command("../../../scripts/programs.sh", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		fresh, err := os.ReadFile(filepath.Join(dir, "sshd", arch, "noid-sshd.gz"))
		have, err2 := os.ReadFile(filepath.Join(arch, "noid-sshd.gz"))
		if err = errors.Join(err, err2); err != nil || !bytes.Equal(fresh, have) {
			t.Errorf("the embedded noid-sshd for %s is not what the sources build now (%v): run 'make programs', then go test again", arch, err)
		}
	}
}
