package tarfs

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

// TestCreateFile makes a file of a reader that ends, and none of one that fails, whatever it fails with.
func TestCreateFile(t *testing.T) {
	long := strings.Repeat("0123456789", 60_000) // in three pieces
	for _, c := range []struct {
		what string
		r    io.Reader
		want error
	}{{"whole", strings.NewReader(long), nil}, {"the end with the last bytes", iotest.DataErrReader(strings.NewReader(long)), nil},
		{"cut", io.MultiReader(strings.NewReader(long), iotest.ErrReader(io.ErrUnexpectedEOF)), io.ErrUnexpectedEOF},
		{"closed", io.MultiReader(strings.NewReader(long), iotest.ErrReader(io.ErrClosedPipe)), io.ErrClosedPipe}} {
		var stream bytes.Buffer
		if err := CreateFile(t.Context(), &stream, "f", 0o600, c.r); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, not %v", c.what, err, c.want)
		}
		to := filepath.Join(t.TempDir(), "f")
		_, err := Extract(t.Context(), &stream, to, ExtractOptions{Name: "f"})
		got, missing := os.ReadFile(to)
		if c.want == nil && (err != nil || string(got) != long) || c.want != nil && (err == nil || missing == nil) {
			t.Errorf("%s: extracted %d bytes: %v, %v", c.what, len(got), err, missing)
		}
	}
}
