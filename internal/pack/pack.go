// Package pack keeps what many checkpoints of a VM have in common once, on file systems whose files share no blocks.
//
// A pack is a file of blocks. They are appended and never written again; those that nobody needs any more are punched
// out. A table says which blocks of the pack are the content of a file: memory, or a disk. A new content names the
// blocks that it has in common with the one before, and appends the others. So tables of one pack can be removed in any
// order.
//
// The package takes no locks: one process appends to a pack or punches it at a time. Reading needs no lock.
package pack

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"noid/internal/storage"
	"noid/internal/untrusted"
)

// File is the pack's name in the directory of a VM's checkpoints.
const File = "pack"

// Pack is an open pack.
type Pack struct {
	f     *os.File
	begun int64 // the length that it had
	mu    sync.Mutex
	end   int64 // where the next block goes
}

// Open opens the pack in dir for reading.
func Open(dir string) (*Pack, error) { return open(dir, unix.O_RDONLY) }

// Append opens the pack in dir to append to it, and makes it if there is none.
func Append(dir string) (*Pack, error) { return open(dir, unix.O_RDWR|unix.O_CREAT) }

func open(dir string, flags int) (*Pack, error) {
	f, err := openFile(dir, flags)
	if err != nil {
		return nil, fmt.Errorf("opening the pack: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Pack{f: f, begun: info.Size(), end: roundUp(info.Size())}, nil
}

func openFile(dir string, flags int) (*os.File, error) {
	if flags&unix.O_CREAT != 0 {
		f, err := os.OpenFile(filepath.Join(dir, File), flags|unix.O_EXCL, 0o600)
		if !errors.Is(err, os.ErrExist) {
			return f, storage.Explain(err, filepath.Join(dir, File))
		}
	}
	return untrusted.Open(dir, File, flags&^unix.O_CREAT)
}

// Close closes the pack. Nothing is synced.
func (p *Pack) Close() error { return p.f.Close() }

// Appended is how many bytes were appended to p.
func (p *Pack) Appended() int64 { return p.end - roundUp(p.begun) }

// Sync makes what was appended survive a power cut.
func (p *Pack) Sync(ctx context.Context) error {
	if p.Appended() == 0 {
		return nil
	}
	return storage.Sync(ctx, p.f)
}

// Undo takes back all that was appended to p, and the file of one that was empty. No table may name it.
func (p *Pack) Undo() error {
	if p.begun == 0 {
		return os.Remove(p.f.Name())
	}
	p.end = roundUp(p.begun)
	return p.f.Truncate(p.begun)
}

// append appends blocks, the last of which may be shorter than Block, and returns their place.
func (p *Pack) append(blocks []byte) (int64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.end
	if _, err := p.f.WriteAt(blocks, at); err != nil {
		return 0, storage.Explain(err, p.f.Name())
	}
	p.end = at + roundUp(int64(len(blocks)))
	return at, nil
}

// Reclaim gives the blocks that used has not counted back to the file system, and cuts off those behind the last one
// that it has. With gone it looks at the blocks that these tables name alone.
func (p *Pack) Reclaim(used *Counts, gone []Table) error {
	if end := used.end(); end < p.end {
		if err := p.f.Truncate(end); err != nil {
			return fmt.Errorf("giving space back: %w", err)
		}
		p.begun, p.end = end, end
	}
	runs := storage.DataRuns(p.f, p.end)
	if len(gone) > 0 {
		runs = places(gone)
	}
	var failed error // of the last: on a full disk one may fail, and the next make room
	for start, end := range runs {
		for from, to := range used.unused(start/Block, (min(end, p.end)+Block-1)/Block) {
			if err := punch(p.f, from*Block, to*Block); err != nil {
				failed = err
			}
		}
	}
	return failed
}

// places yields where in the pack what tables name begins and ends.
func places(tables []Table) iter.Seq2[int64, int64] {
	return func(yield func(start, end int64) bool) {
		for _, t := range tables {
			for _, e := range t.Extents {
				if !yield(e.At, e.At+e.Len) {
					return
				}
			}
		}
	}
}

func punch(f *os.File, from, to int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, from, to-from)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err == nil, errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS): // where there are no holes, they stay
			return nil
		}
		return fmt.Errorf("giving space back: %w", err)
	}
}
