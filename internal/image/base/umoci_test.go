package base

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"noid/internal/image/flatten"
	"noid/internal/image/imagetest"
	"noid/internal/image/imagetest/listing"
)

// TestNasty builds an image of every odd thing, and compares it with what umoci unpacks.
func TestNasty(t *testing.T) {
	got, want := mounted(t, build(t, opened(nasty(t, "gnu")))), unpacked(t, nasty(t, "posix"))
	imagetest.MendNasty(want, got)
	if diff := cmp.Diff(want, got, ignoreBlocks); diff != "" {
		t.Errorf("umoci's are -, ours +:\n%s", diff)
	}
	for _, name := range []string{"sparse-gnu", "sparse-0.0", "sparse-0.1", "sparse-1.0", "sparse-middle", "sparse-ends", "zeros"} {
		if n := got[name]; n == nil || n.Blocks*512 > 200<<10 {
			t.Errorf("%s has no holes: %+v", name, n)
		}
	}
}

var ignoreBlocks = cmpopts.IgnoreFields(listing.File{}, "Blocks")

func opened(layers []layer) (list []flatten.Layer) {
	for _, l := range layers {
		list = append(list, l)
	}
	return list
}

// mounted returns the files in the file system in a file.
func mounted(t *testing.T, path string) (list map[string]*listing.File) {
	t.Helper()
	mount(t, path, func(dir string) { list = files(t, dir) })
	return list
}

// mount calls do with the directory where the file system is mounted.
func mount(t *testing.T, path string, do func(dir string)) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("NOT RUN: not root, who alone can mount file systems")
	}
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-o", "loop,ro", path, dir).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	defer func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	do(dir)
}

func files(t *testing.T, root string) map[string]*listing.File {
	t.Helper()
	list, err := listing.Files(root)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// unpacked returns the files that umoci unpacks of an image of layers.
func unpacked(t *testing.T, layers []layer) map[string]*listing.File {
	t.Helper()
	if _, err := exec.LookPath("umoci"); err != nil {
		t.Skip("NOT RUN: no umoci")
	}
	dir := filepath.Join(t.TempDir(), "image")
	layout(t, dir, layers)
	return unpack(t, dir)
}

// unpack returns the files that umoci unpacks of the image "test" in a layout.
func unpack(t *testing.T, dir string) map[string]*listing.File {
	t.Helper()
	bundle := filepath.Join(t.TempDir(), "bundle")
	if out, err := exec.Command("umoci", "unpack", "--image", dir+":test", bundle).CombinedOutput(); err != nil {
		t.Fatalf("umoci: %v: %s", err, out)
	}
	return files(t, filepath.Join(bundle, "rootfs"))
}

func sum(data []byte) string { return fmt.Sprintf("%x", sha256.Sum256(data)) }

// layout writes an OCI image layout.
func layout(t *testing.T, dir string, layers []layer) {
	t.Helper()
	type object = map[string]any
	keep := func(data []byte) object {
		write(t, filepath.Join(dir, "blobs/sha256", sum(data)), data)
		return object{"digest": "sha256:" + sum(data), "size": len(data)}
	}
	document := func(kind string, v object) object {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		o := keep(data)
		o["mediaType"] = "application/vnd.oci.image." + kind
		return o
	}
	var descriptors []object
	var sums []string
	for _, l := range layers {
		var zipped bytes.Buffer
		w, _ := gzip.NewWriterLevel(&zipped, gzip.BestSpeed)
		w.Write(l)
		w.Close()
		o := keep(zipped.Bytes())
		o["mediaType"] = "application/vnd.oci.image.layer.v1.tar+gzip"
		descriptors = append(descriptors, o)
		sums = append(sums, "sha256:"+sum(l))
	}
	config := document("config.v1+json", object{"architecture": "amd64", "os": "linux", "config": object{},
		"rootfs": object{"type": "layers", "diff_ids": sums}})
	manifest := document("manifest.v1+json", object{"schemaVersion": 2, "config": config, "layers": descriptors})
	manifest["annotations"] = object{"org.opencontainers.image.ref.name": "test"}
	index, err := json.Marshal(object{"schemaVersion": 2, "manifests": []object{manifest}})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "index.json"), index)
	write(t, filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion": "1.0.0"}`))
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}
