package mcp

import (
	"os"
	"path/filepath"
	"testing"
)

// TestBelow has paths lead nowhere but below the directory that a client may use.
func TestBelow(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	for _, err := range []error{os.Mkdir(root, 0o700), os.WriteFile(filepath.Join(root, "file"), nil, 0o600), os.Symlink("file", filepath.Join(root, "inside")),
		os.Symlink("..", filepath.Join(root, "up")), os.Symlink("nowhere", filepath.Join(root, "dangling"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s := &server{o: Options{Files: root}}
	for path, want := range map[string]string{"file": "file", "new": "new", "inside": "file", ".": ".", filepath.Join(root, "file"): "file", "a/../file": "file"} {
		if got, err := s.below(path); err != nil || got != filepath.Join(root, want) {
			t.Errorf("%q is %q, %v", path, got, err)
		}
	}
	for _, path := range []string{"..", "../root2", "up", "up/x", "dangling", "/etc/passwd", "missing/new", "../root/../x"} {
		if got, err := s.below(path); err == nil {
			t.Errorf("%q is %q", path, got)
		}
	}
}
