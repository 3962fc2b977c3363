package flatten

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Flatten returns the root of the tree that the layers make, the bottom one first: as if each was unpacked over the one
// below. It reads them from the top one down, and gives the store what no higher layer hides. Then it replays their
// headers from the bottom up, which tells exactly what is in the tree. The few files that were taken for hidden, and
// are not, it reads then: a hard link keeps them, for example.
func Flatten(ctx context.Context, layers []Layer, store Store, limits Limits) (*Node, error) {
	return newFlattener(ctx, layers, store, limits).run()
}

type flattener struct {
	ctx     context.Context
	layers  []Layer
	store   Store
	meter   *meter
	entries [][]entry
	hidden  hidden         // nil to guess nothing
	left    map[*Node]bool // files whose contents were left out
}

func newFlattener(ctx context.Context, layers []Layer, store Store, limits Limits) *flattener {
	return &flattener{ctx: ctx, layers: layers, store: store, meter: &meter{Limits: limits},
		entries: make([][]entry, len(layers)), hidden: hidden{}, left: map[*Node]bool{}}
}

func (f *flattener) run() (*Node, error) {
	for i := len(f.layers) - 1; i >= 0; i-- {
		if err := f.scan(i); err != nil {
			return nil, err
		}
	}
	f.hidden = nil // no more needed
	root, err := f.replay()
	if err != nil {
		return nil, err
	}
	count(root)
	for i := range f.layers {
		if err := f.settle(i); err != nil {
			return nil, err
		}
	}
	return root, nil
}

// read calls do for each header of a layer. It reads the layer to its end, where its digest is checked.
func (f *flattener) read(layer int, do func(header uint32, h *tar.Header, r io.Reader) error) (err error) {
	at := func(err error, name string) error { return place(err, layer, len(f.layers), name) }
	r, err := f.layers[layer].Open(f.ctx)
	if err != nil {
		return at(err, "")
	}
	a := readAhead(&stream{f.ctx, r, f.meter})
	defer func() {
		a.Close()
		// Where its bytes are not those that were asked for, that comes before what is wrong in them.
		if wrong := r.Close(); err != nil && wrong != nil {
			err = at(wrong, "")
		}
	}()
	archive := tar.NewReader(a)
	last := ""
	for i := uint32(0); ; i++ {
		h, err := archive.Next()
		if err == io.EOF {
			_, err := io.Copy(io.Discard, a)
			return at(err, "")
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) { // parse looks for itself
			if last != "" {
				err = fmt.Errorf("after it: %w", err)
			}
			return at(err, last)
		}
		last = h.Name
		if err := do(i, h, archive); err != nil {
			return at(err, h.Name)
		}
	}
}

// scan reads a layer's headers, and the contents of files that no layer above hides.
func (f *flattener) scan(layer int) error {
	var entries []entry
	err := f.read(layer, func(i uint32, h *tar.Header, r io.Reader) error {
		e, err := parse(h)
		if err != nil {
			return err
		}
		if e == nil {
			return f.meter.take(0, 0)
		}
		e.header = i
		var size int64
		if e.node != nil {
			if size, err = e.node.Size, f.store.Check(e.node); err != nil {
				return err
			}
		}
		if err := f.meter.take(e.text(), size); err != nil {
			return err
		}
		if size > 0 {
			if f.hidden.hides(e.path) {
				f.left[e.node] = true
			} else if e.node.Blob, err = f.store.Write(r, size); err != nil {
				return err
			}
		}
		entries = append(entries, *e)
		return nil
	})
	f.entries[layer] = entries
	if layer > 0 && f.hidden != nil {
		f.hidden.add(entries)
	}
	return err
}

// replay makes the tree.
func (f *flattener) replay() (*Node, error) {
	t := &tree{root: &Node{Mode: TypeDir | 0o755}, meter: f.meter}
	for layer, entries := range f.entries {
		if err := f.ctx.Err(); err != nil {
			return nil, err
		}
		t.layer = layer + 1
		for i := range entries {
			if err := t.apply(&entries[i]); err != nil {
				return nil, place(err, layer, len(f.layers), entries[i].path)
			}
		}
		for name := range t.root.children {
			if strings.HasPrefix(name, metaPrefix) {
				delete(t.root.children, name)
			}
		}
	}
	return t.root, nil
}

// count counts the names of each file in the tree. A tree is no deeper than the limits say.
func count(n *Node) {
	for _, child := range n.children {
		child.Links++
		if child.Type() == TypeDir {
			count(child.Node)
		}
	}
}

// settle drops the contents of a layer's files that are not in the tree, and reads those that are and were left out.
func (f *flattener) settle(layer int) error {
	wanted := map[uint32]*entry{}
	for i := range f.entries[layer] {
		switch e := &f.entries[layer][i]; {
		case e.node == nil || e.node.Type() != TypeRegular:
		case e.node.Links == 0 && e.node.Blob != 0:
			f.store.Drop(e.node.Blob)
		case e.node.Links > 0 && f.left[e.node]:
			wanted[e.header] = e
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	err := f.read(layer, func(i uint32, h *tar.Header, r io.Reader) (err error) {
		e := wanted[i]
		if e == nil {
			return nil
		}
		if name, err := clean(h.Name); err != nil || name != e.path || h.Size != e.node.Size {
			return errors.New("the layer is another one than when it was read first")
		}
		delete(wanted, i)
		e.node.Blob, err = f.store.Write(r, e.node.Size)
		return err
	})
	if err == nil && len(wanted) > 0 {
		err = place(errors.New("the layer is shorter than when it was read first"), layer, len(f.layers), "")
	}
	return err
}
