package flatten

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// FuzzFlatten makes layers of an input's bytes. That what seems hidden is left out at first changes nothing in the tree:
// the same layers, read with no guess, make the same.
func FuzzFlatten(f *testing.F) {
	for _, seed := range []string{"", "f\x00\x01h\x01\x00|f\x00\x00", "d\x04\x00l\x05\x04f\x06\x01|w\x05\x00d\x05\x00f\x06\x02|h\x01\x06o\x04\x00",
		"f\x00\x01f\x00\x02h\x01\x00|w\x01\x00w\x00\x00h\x02\x01|f\x01\x09", "l\x00\x01l\x01\x00f\x05\x03", "\xff\xff\xff\xfe\x01\x02|\x00"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var layers []Layer
		for part := range bytes.SplitSeq(data, []byte("|")) {
			layers = append(layers, odd(part))
		}
		limits := Limits{Entries: 200, Text: 1 << 14, Data: 1 << 30, Depth: 8, Steps: 1 << 14}
		m, plain := newMemory(), newMemory()
		root, err := Flatten(t.Context(), layers, m, limits)
		f := newFlattener(t.Context(), layers, plain, limits)
		f.hidden = nil
		want, plainErr := f.run()
		if (err == nil) != (plainErr == nil) {
			t.Fatalf("%v; with no guess: %v", err, plainErr)
		}
		if err != nil {
			return
		}
		if diff := cmp.Diff(listing(want, plain), listing(root, m)); diff != "" {
			t.Errorf("with no guess -, with it +:\n%s", diff)
		}
		checkBlobs(t, root, m)
		checkBlobs(t, want, plain)
	})
}

// odd makes a layer of three bytes an entry: what it is, which of a few paths it has, and its target or content.
func odd(data []byte) layer {
	paths := []string{"a", "b", "c", "a/a", "d", "e", "e/a", "d/a", "d/b/c", "e/../a", "/e/./b", "."}
	targets := append(paths, "/d", "../..", "d/../e", "nowhere/at/all")
	at := func(list []string, i byte) string { return list[int(i)%len(list)] }
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for ; len(data) >= 3; data = data[3:] {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: at(paths, data[1]), ModTime: time.Unix(int64(data[2]), 0), Mode: int64(data[0])}
		content := ""
		switch data[0] {
		case 'd':
			h.Typeflag = tar.TypeDir
		case 'l':
			h.Typeflag, h.Linkname = tar.TypeSymlink, at(targets, data[2])
		case 'h':
			h.Typeflag, h.Linkname = tar.TypeLink, at(targets, data[2])
		case 'w':
			h.Name = ".wh." + h.Name
			if i := bytes.LastIndexByte([]byte(h.Name), '/'); i >= 0 {
				h.Name = h.Name[len(".wh."):i+1] + ".wh." + h.Name[i+1:]
			}
		case 'o':
			h.Name += "/.wh..wh..opq"
		default:
			content = fmt.Sprintf("%*d", data[2]%5, data[0])
			h.Size = int64(len(content))
		}
		if w.WriteHeader(h) != nil {
			break
		}
		io.WriteString(w, content)
	}
	w.Close()
	return layer{data: b.Bytes()}
}

// FuzzTar reads any bytes as a layer above another.
func FuzzTar(f *testing.F) {
	bottom := pack(f, "f a 1", "l b a", "d c")
	f.Add(pack(f, "f a 2", "h d b", "w .wh.c").data)
	f.Add(pack(f, "f \xff/\u202e 2").data[:700])
	f.Fuzz(func(t *testing.T, data []byte) {
		m := newMemory()
		root, err := Flatten(t.Context(), []Layer{bottom, layer{data: data}}, m, Limits{Entries: 100, Text: 1 << 14, Data: 1 << 20, Depth: 8, Steps: 1 << 14})
		if err == nil {
			listing(root, m)
			checkBlobs(t, root, m)
		}
	})
}
