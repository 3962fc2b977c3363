package pack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"noid/internal/storage"
)

// guest is a file that is written to, and its packed contents.
type guest struct {
	*testing.T
	dir  string
	f    *os.File
	rand *rand.Rand
	kept []kept
}

// kept is one packed content, and what it is to be.
type kept struct {
	table Table
	hash  storage.Hash
	want  []byte
}

func newGuest(t *testing.T, length int64) *guest {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "memory"))
	must(t, errors.Join(err, f.Truncate(length)))
	t.Cleanup(func() { f.Close() })
	return &guest{T: t, dir: dir, f: f, rand: rand.New(rand.NewPCG(1, uint64(length)))}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (g *guest) length() int64 {
	info, err := g.f.Stat()
	must(g, err)
	return info.Size()
}

// write changes n places: single bytes, runs over several blocks, zeros, holes.
func (g *guest) write(n int) {
	g.Helper()
	length := g.length()
	for range n {
		off := g.rand.Int64N(length)
		size := min(length-off, 1+g.rand.Int64N(5*Block))
		data := make([]byte, size)
		switch g.rand.IntN(4) {
		case 0:
			data = data[:1]
			data[0] = byte(g.rand.Uint32())
		case 1, 2:
			for i := range data {
				data[i] = byte(g.rand.Uint32())
			}
		default:
			if size > Block {
				must(g, unix.Fallocate(int(g.f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, size))
				continue
			}
		}
		_, err := g.f.WriteAt(data, off)
		must(g, err)
	}
}

// keep packs what the guest is, written to between two looks by change.
func (g *guest) keep(like int, change func()) (appended int64) {
	g.Helper()
	p, err := Append(g.dir)
	must(g, err)
	defer p.Close()
	var base kept
	if like >= 0 {
		base = g.kept[like]
	}
	d, err := p.Draft(g.f, base.table, base.hash)
	must(g, err)
	defer d.Close()
	must(g, d.Read(g.Context()))
	change()
	must(g, d.Hold(g.Context()))
	want := g.content()
	must(g, d.Settle(g.Context()))
	parsed, err := Parse(d.Table().Encode())
	must(g, err)
	g.kept = append(g.kept, kept{parsed, d.Hash(), want})
	return p.Appended()
}

func (g *guest) content() []byte {
	g.Helper()
	data, err := os.ReadFile(g.f.Name())
	must(g, err)
	return data
}

// read returns content i as it was packed, and the hash that was read.
func (g *guest) read(i int) ([]byte, storage.Hash, error) {
	p, err := Open(g.dir)
	must(g, err)
	defer p.Close()
	out, err := os.CreateTemp(g.dir, "out")
	must(g, err)
	defer os.Remove(out.Name())
	defer out.Close()
	h, err := Content{p, g.kept[i].table}.Read(g.Context(), g.kept[i].hash.Chunk, out)
	data, readErr := os.ReadFile(out.Name())
	must(g, readErr)
	return data, h, err
}

func (g *guest) check() {
	g.Helper()
	for i, k := range g.kept {
		if k.want == nil {
			continue
		}
		data, h, err := g.read(i)
		must(g, err)
		if !bytes.Equal(data, k.want) {
			g.Fatalf("content %d differs from what was packed", i)
		}
		if h.Root() != k.hash.Root() {
			g.Fatalf("content %d has another hash", i)
		}
	}
}

func (g *guest) forget(i int) {
	g.Helper()
	g.kept[i] = kept{}
	used := &Counts{}
	for _, k := range g.kept {
		used.Add(k.table)
	}
	p, err := Append(g.dir)
	must(g, err)
	defer p.Close()
	must(g, p.Reclaim(used, nil))
}

func (g *guest) onDisk() int64 {
	_, bytes, err := storage.Usage(filepath.Join(g.dir, File))
	if !errors.Is(err, os.ErrNotExist) {
		must(g, err)
	}
	return bytes
}

// TestContents packs a file again and again while it is written to, from whichever content before, removes contents in
// any order, and finds each of the others as it was, and no space used for what is gone.
func TestContents(t *testing.T) {
	for _, length := range []int64{3 << 20, 5<<20 + 1234} {
		t.Run(fmt.Sprint(length), func(t *testing.T) {
			g := newGuest(t, length)
			g.write(300)
			g.keep(-1, func() {})
			for range 12 {
				g.write(g.rand.IntN(40))
				like := g.rand.IntN(len(g.kept))
				if g.kept[like].want == nil {
					like = -1
				}
				g.keep(like, func() { g.write(g.rand.IntN(20)) })
				if g.rand.IntN(2) == 0 {
					g.forget(g.rand.IntN(len(g.kept)))
				}
			}
			g.check()
			for n, i := range g.rand.Perm(len(g.kept)) {
				if g.forget(i); n%4 == 0 {
					g.check()
				}
			}
			if info, err := os.Stat(filepath.Join(g.dir, File)); err != nil || info.Size() != 0 {
				t.Errorf("of nothing there are %v bytes, %v", info, err)
			}
		})
	}
}

// TestAppends counts what a content costs beside one that it has most in common with.
func TestAppends(t *testing.T) {
	g := newGuest(t, 8<<20)
	_, err := g.f.WriteAt(bytes.Repeat([]byte("x"), 6<<20), 1<<20)
	must(t, err)
	block := func(n int64, fill byte) {
		_, err := g.f.WriteAt(bytes.Repeat([]byte{fill}, Block), n*Block)
		must(t, err)
	}
	for _, tt := range []struct {
		what           string
		before, inLate func()
		blocks         int64
	}{
		{"all", func() {}, func() {}, 6 << 20 / Block},
		{"nothing", func() {}, func() {}, 0},
		{"two blocks", func() { block(300, 'a'); block(1200, 'a') }, func() {}, 2},
		{"a block in the pause", func() {}, func() { block(301, 'b') }, 1},
		{"a block before, and again in the pause", func() { block(302, 'c') }, func() { block(302, 'd') }, 2},
		{"zeros", func() { block(303, 0) }, func() { block(304, 0) }, 0},
		{"back in the pause", func() { block(305, 'e') }, func() { block(305, 'x') }, 2},
	} {
		before := g.onDisk()
		tt.before()
		if n := g.keep(len(g.kept)-1, tt.inLate); n != tt.blocks*Block {
			t.Errorf("%s: %d bytes were appended, not %d blocks", tt.what, n, tt.blocks)
		}
		t.Logf("%s: %d bytes on disk", tt.what, g.onDisk()-before)
	}
	g.check()
	var owners Owners
	for i, k := range g.kept {
		owners.Add(i, k.table)
	}
	if part := owners.Part(2); part.Own != 0 || part.Shared != g.kept[2].table.Bytes() {
		t.Errorf("%+v of it, that a later one has too", part)
	}
	if part := owners.Part(0); part.Own != 0 {
		t.Errorf("the first has %d bytes of its own beside the second", part.Own)
	}
	g.forget(3)
	g.check()
}

// TestBranches packs on two branches of one content, as after a restore.
func TestBranches(t *testing.T) {
	g := newGuest(t, 4<<20)
	g.write(200)
	g.keep(-1, func() {})
	was := g.content()
	g.write(20)
	g.keep(0, func() {})
	_, err := g.f.WriteAt(was, 0)
	must(t, err)
	if n := g.keep(0, func() {}); n != 0 {
		t.Errorf("back at the first, %d bytes were appended", n)
	}
	g.forget(0)
	g.check()
}

// TestGrows packs a disk that was made larger, with and without sums that can be used.
func TestGrows(t *testing.T) {
	g := newGuest(t, 3<<20)
	g.write(200)
	g.keep(-1, func() {})
	g.keep(0, func() {})
	g.kept[1].hash = storage.Hash{}
	for like := range 2 {
		must(t, g.f.Truncate(g.length()+1<<20))
		if n := g.keep(like, func() {}); n != 0 {
			t.Errorf("of a longer file of the same contents %d bytes were appended", n)
		}
	}
	g.kept[1] = kept{}
	g.check()
}

// TestHoldBounds holds more than is kept in memory.
func TestHoldBounds(t *testing.T) {
	g := newGuest(t, maxHeld+8<<20)
	g.keep(-1, func() {
		data := make([]byte, 1<<20)
		for i := range g.length() >> 20 {
			for j := range data {
				data[j] = byte(int64(j)*7 + i)
			}
			_, err := g.f.WriteAt(data, i<<20)
			must(t, err)
		}
	})
	g.check()
}

// TestDamage finds a bit that rots, a hole, and a pack that ends too early, and packs sound contents beside them.
func TestDamage(t *testing.T) {
	for what, damage := range map[string]func(f *os.File) error{
		"rot":   func(f *os.File) error { _, err := f.WriteAt([]byte{1}, 5*Block+7); return err },
		"hole":  func(f *os.File) error { return punch(f, 5*Block, 6*Block) },
		"short": func(f *os.File) error { return f.Truncate(5 * Block) },
	} {
		g := newGuest(t, 1<<20)
		_, err := g.f.WriteAt(bytes.Repeat([]byte("y"), 1<<20), 0)
		must(t, err)
		g.keep(-1, func() {})
		f, err := os.OpenFile(filepath.Join(g.dir, File), os.O_RDWR, 0)
		must(t, errors.Join(err, damage(f), f.Close()))
		if _, h, err := g.read(0); err == nil && h.Root() == g.kept[0].hash.Root() {
			t.Errorf("%s is not found", what)
		}
		_, err = g.f.WriteAt([]byte("z"), 0) // of the damaged chunk: its blocks are read to compare
		must(t, err)
		g.keep(0, func() {})
		if data, _, err := g.read(1); what != "short" && (err != nil || !bytes.Equal(data, g.content())) {
			t.Errorf("after %s, what was packed anew is damaged: %v", what, err)
		}
	}
}

// TestUndo takes an append back.
func TestUndo(t *testing.T) {
	g := newGuest(t, 1<<20)
	g.write(50)
	g.keep(-1, func() {})
	before, err := os.ReadFile(filepath.Join(g.dir, File))
	must(t, err)
	g.write(50)
	p, err := Append(g.dir)
	must(t, err)
	defer p.Close()
	d, err := p.Draft(g.f, g.kept[0].table, g.kept[0].hash)
	must(t, errors.Join(err, d.Read(t.Context())))
	defer d.Close()
	must(t, p.Sync(t.Context()))
	if p.Appended() == 0 {
		t.Fatal("nothing was appended")
	}
	must(t, p.Undo())
	if after, err := os.ReadFile(filepath.Join(g.dir, File)); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the pack is not what it was: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Read(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestHostileFile is of a VMM that shortens the file.
func TestHostileFile(t *testing.T) {
	g := newGuest(t, 1<<20)
	g.write(50)
	p, err := Append(g.dir)
	must(t, err)
	defer p.Close()
	d, err := p.Draft(g.f, Table{}, storage.Hash{})
	must(t, errors.Join(err, g.f.Truncate(1<<19)))
	if err := d.Read(t.Context()); err == nil {
		t.Error("a file that became shorter is no error")
	}
	err = d.view.guarded(func() error { return d.look(run{0, 16}, make([]byte, storage.HashChunk), d.place) })
	if !errors.Is(err, unix.EIO) {
		t.Errorf("a file that becomes shorter while it is read: %v", err)
	}
	must(t, g.f.Truncate(MaxLength+1))
	if _, err := p.Draft(g.f, Table{}, storage.Hash{}); err == nil {
		t.Error("a content of any length is packed")
	}
	must(t, os.Remove(filepath.Join(g.dir, File)))
	must(t, os.Symlink("memory", filepath.Join(g.dir, File)))
	for _, open := range []func(string) (*Pack, error){Open, Append} {
		if _, err := open(g.dir); err == nil {
			t.Error("a link is followed")
		}
	}
}
