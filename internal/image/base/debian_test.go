package base

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"

	"noid/internal/image/flatten"
)

// TestDebian builds the three layers that scripts/layers.sh makes.
func TestDebian(t *testing.T) {
	dir := os.Getenv("NOID_TEST_LAYERS")
	if dir == "" {
		t.Skip("NOT RUN: NOID_TEST_LAYERS is not set")
	}
	layers := layoutLayers(t, dir)
	if len(layers) != 3 {
		t.Fatalf("%d layers", len(layers))
	}
	got, want := mounted(t, build(t, layers)), unpack(t, dir)
	if len(want) < 5000 {
		t.Errorf("%d files", len(want))
	}
	if diff := cmp.Diff(want, got, ignoreBlocks); diff != "" {
		t.Errorf("umoci's are -, ours +:\n%s", diff)
	}
}

// layoutLayers returns the layers of the only image in an OCI image layout.
func layoutLayers(t *testing.T, dir string) (list []flatten.Layer) {
	t.Helper()
	type descriptors []struct{ Digest string }
	blob := func(digest string) string { return filepath.Join(dir, "blobs", strings.ReplaceAll(digest, ":", "/")) }
	var index struct{ Manifests descriptors }
	if err := json.Unmarshal(contents(t, filepath.Join(dir, "index.json")), &index); err != nil {
		t.Fatal(err)
	}
	var manifest struct{ Layers descriptors }
	if err := json.Unmarshal(contents(t, blob(index.Manifests[0].Digest)), &manifest); err != nil {
		t.Fatal(err)
	}
	for _, l := range manifest.Layers {
		list = append(list, zipped(blob(l.Digest)))
	}
	return list
}

// zipped is a layer in a file that gzip made.
type zipped string

func (l zipped) Open(context.Context) (io.ReadCloser, error) {
	f, err := os.Open(string(l))
	if err != nil {
		return nil, err
	}
	r, err := gzip.NewReader(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{r, f}, nil
}
