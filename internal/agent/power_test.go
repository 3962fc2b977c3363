package agent

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

func TestOmit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sendsigs.omit.d")
	if omit(dir) {
		t.Error("done without a directory")
	}
	must(t, os.Mkdir(dir, 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "noid-agent"), []byte("1\n"), 0o644)) // of an agent before
	if !omit(dir) {
		t.Error("not done")
	}
	files, err := filepath.Glob(filepath.Join(dir, "*")) // as sendsigs reads them all
	must(t, err)
	if len(files) != 1 {
		t.Fatalf("files: %v", files)
	}
	if data, err := os.ReadFile(files[0]); err != nil || string(data) != strconv.Itoa(os.Getpid())+"\n" {
		t.Errorf("%s: %q, %v", files[0], data, err)
	}
}
