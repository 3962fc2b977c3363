package base

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"noid/internal/image/flatten"
)

// TestNasty builds an image of every odd thing, and compares it with what umoci unpacks.
func TestNasty(t *testing.T) {
	got, want := mounted(t, build(t, opened(nasty(t, "gnu")))), unpacked(t, nasty(t, "posix"))
	for _, name := range []string{".", "not", "not/yet", "not/yet/there", "no", "no/parents", "no/parents/at", "time", "index"} {
		want[name].Time = got[name].Time // umoci made them now
	}
	want["whole"].Time = then.UTC()                               // its whiteout is of now
	want["time/9"].Time = time.Unix(15032385534, 123456789).UTC() // which umoci's 64 bits of nanoseconds do not reach
	delete(want, ".wh..wh.plnk")                                  // what umoci leaves of AUFS
	delete(want, ".wh..wh.plnk/1.2")
	want["."].Links--
	want["of-aufs"].Links, want["of-aufs"].First = 1, "of-aufs"
	want["attributed"].Xattrs["user.empty"] = "" // which the Go library that umoci uses takes for none
	want["libarchive"].Xattrs = map[string]string{"user.a b": "value"}
	if diff := cmp.Diff(want, got, ignoreBlocks); diff != "" {
		t.Errorf("umoci's are -, ours +:\n%s", diff)
	}
	for _, name := range []string{"sparse-gnu", "sparse-0.0", "sparse-0.1", "sparse-1.0", "sparse-middle", "sparse-ends", "zeros"} {
		if n := got[name]; n == nil || n.blocks*512 > 200<<10 {
			t.Errorf("%s has no holes: %+v", name, n)
		}
	}
}

var ignoreBlocks = cmpopts.IgnoreUnexported(stat{})

func opened(layers []layer) (list []flatten.Layer) {
	for _, l := range layers {
		list = append(list, l)
	}
	return list
}

// stat is what a kernel says of a file.
type stat struct {
	Mode          string
	UID, GID      uint32
	Size          int64
	Time          time.Time
	Device        uint64
	Target, First string // First is the first name of the same file
	Links         uint64
	Xattrs        map[string]string
	Sum           string
	blocks        int64
}

// mounted returns the files in the file system in a file.
func mounted(t *testing.T, path string) (list map[string]*stat) {
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

func sum(data []byte) string { return fmt.Sprintf("%x", sha256.Sum256(data)) }

func files(t *testing.T, root string) map[string]*stat {
	t.Helper()
	list, first := map[string]*stat{}, map[uint64]string{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		st := info.Sys().(*syscall.Stat_t)
		if first[st.Ino] == "" {
			first[st.Ino] = name
		}
		s := &stat{Mode: info.Mode().String(), UID: st.Uid, GID: st.Gid, Time: info.ModTime().UTC(), Device: st.Rdev,
			First: first[st.Ino], Links: uint64(st.Nlink), Xattrs: xattrsAt(t, path), blocks: st.Blocks}
		switch {
		case info.Mode().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			s.Size, s.Sum = st.Size, sum(data)
		case info.Mode().Type() == fs.ModeSymlink:
			if s.Target, err = os.Readlink(path); err != nil {
				return err
			}
			s.Size = st.Size
		}
		list[name] = s
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func xattrsAt(t *testing.T, path string) map[string]string {
	t.Helper()
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, buf)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	var list map[string]string
	for name := range strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		if name == "" || name == "security.selinux" {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			t.Fatalf("%s: %s: %v", path, name, err)
		}
		if list == nil {
			list = map[string]string{}
		}
		list[name] = string(value[:n])
	}
	return list
}

// unpacked returns the files that umoci unpacks of an image of layers.
func unpacked(t *testing.T, layers []layer) map[string]*stat {
	t.Helper()
	if _, err := exec.LookPath("umoci"); err != nil {
		t.Skip("NOT RUN: no umoci")
	}
	dir := filepath.Join(t.TempDir(), "image")
	layout(t, dir, layers)
	return unpack(t, dir)
}

// unpack returns the files that umoci unpacks of the image "test" in a layout.
func unpack(t *testing.T, dir string) map[string]*stat {
	t.Helper()
	bundle := filepath.Join(t.TempDir(), "bundle")
	if out, err := exec.Command("umoci", "unpack", "--image", dir+":test", bundle).CombinedOutput(); err != nil {
		t.Fatalf("umoci: %v: %s", err, out)
	}
	return files(t, filepath.Join(bundle, "rootfs"))
}

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
