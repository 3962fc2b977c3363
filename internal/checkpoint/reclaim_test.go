package checkpoint

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"noid/internal/pack"
	"noid/internal/storage"
)

// history is a directory of packed checkpoints.
type history struct {
	*testing.T
	dir   string
	made  int
	last  string // id
	sums  storage.Hash
	there map[string]pack.Table
	guest *os.File
}

func newHistory(t *testing.T) *history {
	h := &history{T: t, dir: filepath.Join(t.TempDir(), "vm"), there: map[string]pack.Table{}}
	if err := os.Mkdir(h.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var err error
	if h.guest, err = os.Create(filepath.Join(t.TempDir(), "memory")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.guest.Close() })
	h.write(0, bytes.Repeat([]byte{1}, 1<<20))
	return h
}

func (h *history) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func (h *history) write(off int64, data []byte) {
	h.Helper()
	_, err := h.guest.WriteAt(data, off)
	h.must(err)
}

// add makes a checkpoint of what the guest has, and returns its id.
func (h *history) add() (id string) {
	h.Helper()
	p, err := pack.Append(h.dir)
	h.must(err)
	defer p.Close()
	like, ok := h.there[h.last]
	if !ok {
		h.sums = storage.Hash{}
	}
	d, err := p.Draft(h.guest, like, h.sums)
	h.must(err)
	defer d.Close()
	h.must(d.Read(h.Context()))
	h.made++
	id = fmt.Sprintf("%08x", h.made)
	h.must(os.Mkdir(filepath.Join(h.dir, id), 0o700))
	h.must(os.WriteFile(filepath.Join(h.dir, id, TableFile("memory.snap")), d.Table().Encode(), 0o600))
	h.last, h.sums, h.there[id] = id, d.Hash(), d.Table()
	return id
}

// remove takes checkpoints out, as forget does, and returns what Reclaim is told.
func (h *history) remove(ids ...string) map[string]string {
	h.Helper()
	gone := map[string]string{}
	for _, id := range ids {
		gone[id] = filepath.Join(h.TempDir(), id)
		h.must(os.Rename(filepath.Join(h.dir, id), gone[id]))
		delete(h.there, id)
	}
	return gone
}

// exact looks whether the pack has what the checkpoints need and nothing else.
func (h *history) exact(what string) {
	h.Helper()
	used := &pack.Counts{}
	for id, t := range h.there {
		used.Add(t)
		content, err := OpenContent(filepath.Join(h.dir, id), "memory.snap")
		h.must(err)
		if off, lacks := content.Lacks(); lacks {
			h.Errorf("%s: the pack lacks what %s has at %d", what, id, off)
		}
		content.Close()
	}
	f, err := os.Open(filepath.Join(h.dir, pack.File))
	h.must(err)
	defer f.Close()
	bytes := int64(0)
	for start, end := range storage.DataRuns(f, 1<<40) {
		bytes += end - start
	}
	if bytes != used.Bytes() {
		h.Errorf("%s: the pack has %d bytes, %d are needed", what, bytes, used.Bytes())
	}
}

// TestReclaim removes checkpoints in any order, is killed in between, finds counts that are lost, damaged or of another
// time, and each time the pack has what is needed and nothing else.
func TestReclaim(t *testing.T) {
	h := newHistory(t)
	random := rand.New(rand.NewPCG(7, 7))
	counts := filepath.Join(h.dir, pack.CountsFile)
	for range 120 {
		for range 1 + random.IntN(3) {
			h.write(pack.Block*random.Int64N(256), bytes.Repeat([]byte{byte(random.Uint32())}, int(pack.Block*random.Int64N(9))))
			h.add()
		}
		what, old := "told", []byte(nil)
		var ids []string
		for id := range h.there {
			if ids = append(ids, id); len(ids) == 1+random.IntN(4) || len(ids) == len(h.there)-1 {
				break
			}
		}
		gone := h.remove(ids...)
		switch random.IntN(6) {
		case 0:
			what, gone = "killed before", nil
		case 1:
			what = "counts lost"
			os.Remove(counts)
		case 2:
			what = "counts damaged"
			if data, err := os.ReadFile(counts); err == nil {
				data[random.IntN(len(data))] ^= 1
				h.must(os.WriteFile(counts, data, 0o600))
			}
		case 3:
			what = "counts of before"
			old, _ = os.ReadFile(counts)
		}
		h.must(Reclaim(h.dir, gone))
		h.exact(what)
		if old != nil {
			h.must(os.WriteFile(counts, old, 0o600))
		}
	}
	gone := map[string]string{}
	for id := range h.there {
		gone[id] = h.remove(id)[id]
	}
	h.must(Reclaim(h.dir, gone))
	if _, err := os.Lstat(h.dir); !os.IsNotExist(err) {
		t.Errorf("of no checkpoint is left: %v", err)
	}
}

// TestReclaimReadsWhatGoes has tables that nobody can read: what was counted before is not read again. When it has to
// be, all stays.
func TestReclaimReadsWhatGoes(t *testing.T) {
	h := newHistory(t)
	for i := range int64(6) {
		h.write(pack.Block*10*i, bytes.Repeat([]byte{byte(10 + i)}, pack.Block*4))
		h.add()
	}
	h.must(Reclaim(h.dir, h.remove("00000001")))
	h.exact("first")
	table := filepath.Join(h.dir, "00000005", TableFile("memory.snap"))
	was, err := os.ReadFile(table)
	h.must(err)
	h.must(os.WriteFile(table, []byte("damaged"), 0o600))
	h.must(Reclaim(h.dir, h.remove("00000002")))
	h.must(os.Remove(filepath.Join(h.dir, pack.CountsFile)))
	if err := Reclaim(h.dir, h.remove("00000003")); err == nil || !strings.Contains(err.Error(), "00000005") {
		t.Errorf("with a table that cannot be read: %v", err)
	}
	h.must(os.WriteFile(table, was, 0o600))
	for id := range h.there {
		content, err := OpenContent(filepath.Join(h.dir, id), "memory.snap")
		h.must(err)
		if _, lacks := content.Lacks(); lacks {
			t.Errorf("what %s needs is gone", id)
		}
		content.Close()
	}
	h.must(Reclaim(h.dir, nil))
	h.exact("after all")
}
