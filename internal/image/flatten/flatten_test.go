package flatten

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// memory is a store in memory.
type memory struct {
	contents []string // of the blobs, from 1 on
	dropped  map[Blob]bool
	written  int
}

func newMemory() *memory { return &memory{contents: []string{""}, dropped: map[Blob]bool{}} }

func (m *memory) Check(n *Node) error { return nil }

func (m *memory) Write(r io.Reader, size int64) (Blob, error) {
	data, err := io.ReadAll(io.LimitReader(r, size))
	if err == nil && int64(len(data)) != size {
		err = io.ErrUnexpectedEOF
	}
	m.contents = append(m.contents, string(data))
	m.written += len(data)
	return Blob(len(m.contents) - 1), err
}

func (m *memory) Drop(b Blob) { m.dropped[b] = true }

// layer is a layer in memory, which counts how often it is opened.
type layer struct {
	data  []byte
	opens *int
}

func (l layer) Open(context.Context) (io.ReadCloser, error) {
	if l.opens != nil {
		*l.opens++
	}
	return io.NopCloser(bytes.NewReader(l.data)), nil
}

// pack makes a layer of lines such as "d NAME", "f NAME CONTENT", "l NAME TARGET", "h NAME TARGET" or "w WHITEOUT".
func pack(t testing.TB, lines ...string) layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, line := range lines {
		words := strings.SplitN(line+"  ", " ", 3)
		h := &tar.Header{Typeflag: tar.TypeReg, Name: words[1], Mode: 0o644, ModTime: time.Unix(1e9, 0)}
		last, content := strings.TrimRight(words[2], " "), ""
		switch words[0] {
		case "d":
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		case "f":
			content = last
			h.Size = int64(len(content))
		case "l":
			h.Typeflag, h.Linkname = tar.TypeSymlink, last
		case "h":
			h.Typeflag, h.Linkname = tar.TypeLink, last
		case "c":
			h.Typeflag = tar.TypeChar
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		io.WriteString(w, content)
	}
	w.Close()
	return layer{data: b.Bytes(), opens: new(int)}
}

// listing returns the tree as "PATH" and what is there: "dir", "-> TARGET", "=CONTENT", and how many names it has.
func listing(root *Node, m *memory) map[string]string {
	list := map[string]string{}
	var walk func(dir string, n *Node)
	walk = func(dir string, n *Node) {
		for name, child := range n.Children() {
			at, what := path.Join(dir, name), "dir"
			switch child.Type() {
			case TypeDir:
				walk(at, child)
			case TypeSymlink:
				what = "-> " + child.Target
			case TypeRegular:
				what = "=" + m.contents[child.Blob]
			default:
				what = fmt.Sprintf("%#o", child.Mode)
			}
			if child.Links > 1 {
				what += fmt.Sprint(" x", child.Links)
			}
			list[at] = what
		}
	}
	walk("", root)
	return list
}

func layersOf(list []layer) (out []Layer) {
	for _, l := range list {
		out = append(out, l)
	}
	return out
}

// TestFlatten has what the layers make, how many bytes of contents were read for it, and how often each layer.
func TestFlatten(t *testing.T) {
	for _, test := range []struct {
		name    string
		layers  []layer
		want    map[string]string
		written int
		opens   []int
	}{
		{"no layers", nil, map[string]string{}, 0, nil},
		{"an empty layer", []layer{pack(t), {data: nil, opens: new(int)}}, map[string]string{}, 0, []int{1, 1}},
		{"what is hidden is not read", []layer{pack(t, "f a 12345", "f d/b 12345", "f e/c 12345", "f f 12345", "f g/h/i 12345", "f stays 1"),
			pack(t, "f a 1", "w d/.wh.b", "w e/.wh..wh..opq", "l f a", "w .wh.g")},
			map[string]string{"a": "=1", "d": "dir", "e": "dir", "f": "-> a", "stays": "=1"}, 2, []int{1, 1}},
		{"a directory hides no directory", []layer{pack(t, "d d", "f d/a 1"), pack(t, "d d", "f d/b 2")},
			map[string]string{"d": "dir", "d/a": "=1", "d/b": "=2"}, 2, []int{1, 1}},
		{"a hidden file with another name is read", []layer{pack(t, "f a 123", "h b a", "f c 4"), pack(t, "f a 5")},
			map[string]string{"a": "=5", "b": "=123", "c": "=4"}, 5, []int{2, 1}},
		{"a link to a lower layer's file", []layer{pack(t, "f a 1"), pack(t, "h b a"), pack(t, "f a 2")},
			map[string]string{"a": "=2", "b": "=1"}, 2, []int{2, 1, 1}},
		{"a link above a link", []layer{pack(t, "f a 1", "h b a"), pack(t, "h c b", "w .wh.a", "w .wh.b")},
			map[string]string{"c": "=1"}, 1, []int{2, 1}},
		{"a link to itself", []layer{pack(t, "f a 1", "h a a")}, map[string]string{"a": "=1"}, 1, []int{1}},
		{"a lower symlink leads an upper file", []layer{pack(t, "d usr/lib", "l lib usr/lib", "f usr/lib/x lower", "f lib/y 1"), pack(t, "f lib/x up")},
			map[string]string{"usr": "dir", "usr/lib": "dir", "lib": "-> usr/lib", "usr/lib/x": "=up", "usr/lib/y": "=1"}, 8, []int{1, 1}},
		{"an upper directory over a symlink", []layer{pack(t, "d usr/lib", "l lib usr/lib", "f lib/x 1"), pack(t, "d lib", "f lib/x 2")},
			map[string]string{"usr": "dir", "usr/lib": "dir", "lib": "dir", "usr/lib/x": "=1", "lib/x": "=2"}, 2, []int{2, 1}},
		{"an entry twice", []layer{pack(t, "f a 1", "f a 22", "d a", "f a 333")}, map[string]string{"a": "=333"}, 6, []int{1}},
		{"whiteouts are for lower layers", []layer{pack(t, "f a 1", "f d/x 1", "f e/x 1"), pack(t, "f a 2", "w .wh.a", "f d/y 2", "w .wh.d", "w e/.wh..wh..opq", "f e/z 2")},
			map[string]string{"a": "=2", "d": "dir", "d/y": "=2", "e": "dir", "e/z": "=2"}, 3, []int{1, 1}},
		{"everything is opaque", []layer{pack(t, "f a 1", "d d"), pack(t, "w .wh..wh..opq", "f b 2")}, map[string]string{"b": "=2"}, 1, []int{1, 1}},
		{"paths are cleaned", []layer{pack(t, "f ./a/./b//c 1", "f /d 2", "d .", "h e /./d")},
			map[string]string{"a": "dir", "a/b": "dir", "a/b/c": "=1", "d": "=2 x2", "e": "=2 x2"}, 2, []int{1}},
		{"links stay in the root", []layer{pack(t, "l a ../../..", "l b /../x/./y", "f a/p 1", "f b/q 2")},
			map[string]string{"a": "-> ../../..", "b": "-> /../x/./y", "p": "=1", "x": "dir", "x/y": "dir", "x/y/q": "=2"}, 2, []int{1}},
		{"AUFS' own files", []layer{pack(t, "f .wh..wh.aufs 1", "f .wh..wh.plnk/5 2", "h a .wh..wh.plnk/5")}, map[string]string{"a": "=2"}, 2, []int{1}},
		{"a device", []layer{pack(t, "c null")}, map[string]string{"null": "020644"}, 0, []int{1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMemory()
			root, err := Flatten(t.Context(), layersOf(test.layers), m, Default)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, listing(root, m)); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
			if m.written != test.written {
				t.Errorf("%d bytes of contents were read, want %d", m.written, test.written)
			}
			for i, l := range test.layers {
				if *l.opens != test.opens[i] {
					t.Errorf("layer %d was read %d times, want %d", i+1, *l.opens, test.opens[i])
				}
			}
			checkBlobs(t, root, m)
		})
	}
}

// checkBlobs finds each blob either in the tree or dropped.
func checkBlobs(t *testing.T, root *Node, m *memory) {
	t.Helper()
	used := map[Blob]bool{0: true}
	var walk func(n *Node)
	walk = func(n *Node) {
		for name, child := range n.Children() {
			if child.Type() == TypeRegular {
				used[child.Blob] = true
				if (child.Size == 0) != (child.Blob == 0) {
					t.Errorf("%s of %d bytes has blob %d", name, child.Size, child.Blob)
				}
			}
			walk(child)
		}
	}
	walk(root)
	for i := range m.contents {
		if b := Blob(i); used[b] == m.dropped[b] {
			t.Errorf("blob %d is in the tree: %t, dropped: %t", i, used[b], m.dropped[b])
		}
	}
}

// TestHostile has layers that are refused, by a message that names layer and entry.
func TestHostile(t *testing.T) {
	small := Limits{Entries: 20, Text: 1000, Data: 1 << 20, Depth: 8, Steps: 1000}
	long := strings.Repeat("x/", 3000) + "y"
	many := make([]string, 30)
	for i := range many {
		many[i] = fmt.Sprintf("f %d", i)
	}
	padded := layer{data: append(pack(t, "f a 1").data, make([]byte, 400<<10)...)}
	winding := "f " + strings.Repeat("w/", 10)
	for _, test := range []struct {
		name   string
		layers []layer
		want   string
	}{
		{"up", []layer{pack(t, "f ../../etc/passwd x")}, `layer 1 of 1: "../../etc/passwd": its path has ".."`},
		{"up in the middle", []layer{pack(t), pack(t, "f a/../b x")}, `layer 2 of 2: "a/../b": its path has ".."`},
		{"link up", []layer{pack(t, "h a ../../etc/shadow")}, `layer 1 of 1: "a": its link: its path has ".."`},
		{"link to nothing", []layer{pack(t, "h a b")}, `layer 1 of 1: "a": a hard link to a file that is not there`},
		{"link to a directory", []layer{pack(t, "d b", "h a b")}, `layer 1 of 1: "a": a hard link to a directory`},
		{"link through a file", []layer{pack(t, "f b", "h a b/c")}, `layer 1 of 1: "a": a hard link to a file that is not there`},
		{"below a file", []layer{pack(t, "f b 1"), pack(t, "f b/c 2")}, `layer 2 of 2: "b/c": "b", on its way, is not a directory`},
		{"loop", []layer{pack(t, "l a b", "l b a", "f a/x 1")}, `layer 1 of 1: "a/x": more than 40 symbolic links are on its way`},
		{"root is a file", []layer{pack(t, "l ./ /etc")}, `layer 1 of 1: "./": the root is not a directory`},
		{"root is a link", []layer{pack(t, "f a", "h . a")}, `layer 1 of 1: the root is not a directory`},
		{"long name", []layer{pack(t, "f "+strings.Repeat("n", 256))}, "its name has 256 bytes, more than 255"},
		{"long name of a link's target", []layer{pack(t, "l a "+strings.Repeat("n", 256), "f a/b")}, "a name on its way has 256 bytes, more than 255"},
		{"long path", []layer{pack(t, "f "+long)}, "its path has 6001 bytes, more than 4095"},
		{"long link", []layer{pack(t, "l a "+long)}, "a symbolic link to a path of 6001 bytes"},
		{"empty link", []layer{pack(t, "l a")}, `layer 1 of 1: "a": a symbolic link to a path of 0 bytes`},
		{"empty whiteout", []layer{pack(t, "w a/.wh.")}, `layer 1 of 1: "a/.wh.": a whiteout without a name`},
		{"whiteout of the parent", []layer{pack(t, "w a/.wh...")}, `layer 1 of 1: "a/.wh...": a whiteout without a name`},
		{"deep", []layer{pack(t, "f 1/2/3/4/5/6/7/8/9 x")}, "it is below more than 8 directories"},
		{"deep by links", []layer{pack(t, "f 1/2/3/4/5/x", "l l 1/2/3/4/5", "f l/6/7/8/9 x")}, "it is below more than 8 directories"},
		{"many entries", []layer{pack(t, many...)}, `layer 1 of 1: "20": the image has more than 20 entries`},
		{"many entries in two layers", []layer{pack(t, many[:15]...), pack(t, many[:15]...)}, `layer 1 of 2: "5": the image has more than 20 entries`},
		{"many implied directories", []layer{pack(t, "f a/a/a/a", "f b/a/a/a/a", "f c/a/a/a/a", "f d/a/a/a/a", "f e/a/a/a/a/a")}, "the image has more than 20 entries"},
		{"much text", []layer{pack(t, "l a "+strings.Repeat("x", 1000))}, "the names and extended attributes of the image have more than"},
		{"much data", []layer{pack(t, "f a "+strings.Repeat("x", 600<<10)), pack(t, "f b "+strings.Repeat("x", 600<<10))}, `layer 1 of 2: "a": the files of the image have more than`},
		{"winding ways", []layer{pack(t, "l w "+strings.Repeat("./", 50), winding+"a", winding+"b", winding+"c")}, "the image's paths take more than 1000 steps"},
		{"a bomb of nothing", []layer{{data: make([]byte, 2<<20)}}, "layer 1 of 1: the layers of the image have more than"},
		{"a bomb of small layers", []layer{padded, padded, padded}, "layer 1 of 3: the layers of the image have more than"},
		{"cut off", []layer{{data: pack(t, "f a b", "f b "+strings.Repeat("x", 1000)).data[:2000]}}, `layer 1 of 1: "b": unexpected EOF`},
		{"no tar", []layer{{data: []byte(strings.Repeat("no tar", 1000))}}, "layer 1 of 1: archive/tar: invalid tar header"},
		{"the terminal", []layer{pack(t, "f ../\x1b[31m\u202e x")}, `layer 1 of 1: "../\x1b[31m\u202e": its path has ".."`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Flatten(t.Context(), layersOf(test.layers), newMemory(), small)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %s", err, test.want)
			}
		})
	}
}

// changing is a layer that is another one when it is read again.
type changing struct{ list []Layer }

func (c *changing) Open(ctx context.Context) (io.ReadCloser, error) {
	l := c.list[0]
	c.list = c.list[1:]
	return l.Open(ctx)
}

// TestReadAgain needs a layer's hidden file after all, and the layer is not what it was: also where that is known at its
// end alone.
func TestReadAgain(t *testing.T) {
	bottom := pack(t, "f a 1", "h b a")
	for want, second := range map[string]Layer{
		"layer 1 of 2: \"c\": the layer is another one": pack(t, "f c 1"),
		"layer 1 of 2: the layer is shorter":            pack(t),
		"layer 1 of 2: unexpected EOF":                  broken(bottom.data),
		"":                                              bottom,
	} {
		m := newMemory()
		root, err := Flatten(t.Context(), []Layer{&changing{[]Layer{bottom, second}}, pack(t, "f a 2")}, m, Default)
		if want == "" {
			if err != nil || listing(root, m)["b"] != "=1" {
				t.Error(err)
			}
		} else if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestBroken has a stream that ends where a header could, and says that it should not.
func TestBroken(t *testing.T) {
	whole := pack(t, "f a 1").data
	_, err := Flatten(t.Context(), []Layer{broken(whole[:1024])}, newMemory(), Default)
	if !errors.Is(err, io.ErrUnexpectedEOF) || err.Error() != `layer 1 of 1: "a": after it: unexpected EOF` {
		t.Error(err)
	}
}

type broken []byte

func (b broken) Open(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(io.MultiReader(bytes.NewReader(b), iotest.ErrReader(io.ErrUnexpectedEOF))), nil
}

// TestCancel ends in the middle of a layer.
func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	l := pack(t, "f a "+strings.Repeat("x", 1<<20))
	_, err := Flatten(ctx, []Layer{cancelling{l, cancel}}, newMemory(), Default)
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

type cancelling struct {
	layer
	cancel func()
}

func (c cancelling) Open(ctx context.Context) (io.ReadCloser, error) {
	c.cancel()
	return c.layer.Open(ctx)
}
