package checkpoint

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
)

// TestBefore: what is saved is loaded, what is damaged is nothing, and no file has it go round for ever.
func TestBefore(t *testing.T) {
	dir := t.TempDir()
	b := Before{"c": "b", "b": "a", "x": "y", "y": "x"}
	if err := b.Save(dir); err != nil {
		t.Fatal(err)
	}
	if got := LoadBefore(dir); !maps.Equal(got, b) {
		t.Errorf("%v, want %v", got, b)
	}
	there := func(id string) bool { return id == "a" }
	for id, want := range map[string]string{"c": "a", "a": "a", "x": "", "none": "", "": ""} {
		if got := b.Nearest(id, there); got != want {
			t.Errorf("before %q: %q, want %q", id, got, want)
		}
	}
	for _, text := range []string{"", "{", `["a"]`, `{"a":1}`} {
		if err := os.WriteFile(filepath.Join(dir, beforeFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := LoadBefore(dir); len(got) > 0 {
			t.Errorf("%q: %v", text, got)
		}
	}
	if err := (Before{}).Save(dir); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("%d files are left", len(left))
	}
}
