package base

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"noid/internal/image/flatten"
	"noid/internal/image/imagetest"
)

// layer is a layer in memory.
type layer []byte

func (l layer) Open(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(l)), nil
}

// file is an entry of a layer that a test makes.
type file = imagetest.File

var (
	dir      = imagetest.Dir
	reg      = imagetest.Reg
	symlink  = imagetest.Symlink
	hardlink = imagetest.Hardlink
	with     = imagetest.With
	random   = imagetest.Random
)

func pack(t testing.TB, files []file) layer { return imagetest.Pack(t, files) }

func nasty(t testing.TB, holes string) []layer { return layersOf(imagetest.Nasty(t, holes)) }

func layersOf(all [][]byte) (layers []layer) {
	for _, data := range all {
		layers = append(layers, data)
	}
	return layers
}

// build builds a base, which e2fsck finds no fault in, and returns its path.
func build(t testing.TB, layers []flatten.Layer) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "base.ext4")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	stats, err := Build(t.Context(), f, layers, Options{Digest: "sha256:test"})
	if err != nil {
		t.Fatal(err)
	}
	if info, err := f.Stat(); err != nil || info.Size() != stats.Size {
		t.Errorf("%d bytes, %v: it said %d", info.Size(), err, stats.Size)
	}
	fsck(t, path)
	return path
}

func fsck(t testing.TB, path string) {
	t.Helper()
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	if out, err := exec.Command("e2fsck", "-fn", path).CombinedOutput(); err != nil {
		t.Errorf("e2fsck: %v:\n%.4000s", err, out)
	}
}
