package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"noid/internal/checkpoint"
	"noid/internal/errs"
	"noid/internal/home"
	"noid/internal/manifest"
	"noid/internal/storage"
	"noid/internal/untrusted"
	"noid/internal/vmm"
)

// maxSmall is up to which length, in bytes, a file is hashed at each look: device state and console log are far below.
const maxSmall = 64 << 20

// filesOf returns the names of the files of c, sorted.
func filesOf(c checkpoint.Record) []string {
	names := []string{vmm.RootfsFile, vmm.SerialLogFile}
	if c.Memory {
		names = append(names, vmm.MemorySnap, vmm.StateSnap)
	}
	slices.Sort(names)
	return names
}

// fileOf hashes the file path.
func fileOf(ctx context.Context, path string) (manifest.File, error) {
	hash, err := storage.HashFile(ctx, path)
	if err != nil {
		return manifest.File{}, err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return manifest.File{}, err
	}
	return manifest.FileOf(info, hash), nil
}

// check holds the checkpoint's files against what its manifest says. Large files are trusted when nobody has written to
// them since, and read when somebody has, or with readData; reading, if not nil, is told of each before it is read. The error
// says which file is damaged, and where.
func (m *Manager) check(ctx context.Context, c checkpoint.Record, readData bool, reading func(file string, length int64)) error {
	dir := m.Home.CheckpointDir(c.VM, c.ID)
	if c.Files == nil { // of a noid that recorded lengths alone
		c.Files = map[string]manifest.File{vmm.RootfsFile: {Length: c.DiskLength}}
		if c.Memory {
			c.Files[vmm.MemorySnap], c.Files[vmm.StateSnap] = manifest.File{Length: c.MemoryLength}, manifest.File{Length: c.StateLength}
		}
	} else {
		for _, name := range filesOf(c) {
			if _, ok := c.Files[name]; !ok {
				return damaged(c, "its manifest does not know %s", name)
			}
		}
	}
	for _, name := range filesOf(c) {
		want, ok := c.Files[name]
		if !ok {
			continue
		}
		path := filepath.Join(dir, name)
		info, err := os.Lstat(path)
		switch {
		case missing(err):
			return damaged(c, "%s is missing", name)
		case err != nil:
			return damaged(c, "%w", err)
		case !info.Mode().IsRegular():
			return damaged(c, "%s is not a regular file", name)
		case info.Size() != want.Length:
			return damaged(c, "%s has %d bytes, not the %d saved", name, info.Size(), want.Length)
		case want.Sum == storage.Sum{}:
			continue // not hashed
		case !readData && want.Untouched(info) && (name == vmm.RootfsFile || name == vmm.MemorySnap || info.Size() > maxSmall):
			continue
		}
		if reading != nil && want.Length > maxSmall {
			reading(name, want.Length)
		}
		hash, err := storage.HashFile(ctx, path)
		if errors.Is(err, unix.EIO) {
			return damaged(c, "%w", err)
		} else if err != nil {
			return err
		}
		if hash.Root() != want.Sum {
			return damaged(c, "%s differs %sfrom what was saved", name, m.where(c, name, hash))
		}
	}
	return nil
}

// damageError is a checkpoint whose files are not what was saved.
type damageError struct {
	of  checkpoint.Record
	err error
}

func (e *damageError) Error() string {
	return fmt.Sprintf("checkpoint %s@%s is damaged: %v", e.of.VM, e.of.ID, e.err)
}

func (e *damageError) Unwrap() error { return e.err }

func damaged(c checkpoint.Record, format string, args ...any) error {
	return errs.WithHint(&damageError{c, fmt.Errorf(format, args...)},
		"restore another checkpoint; 'noid verify "+c.VM+" --read-data' looks at all of them")
}

// savedSums reads what the chunks of a file of c were, and holds it against the manifest.
func (m *Manager) savedSums(c checkpoint.Record, name string) (storage.Hash, error) {
	var before, total int64 // in sums
	for _, other := range filesOf(c) {
		n := (c.Files[other].Length + storage.HashChunk - 1) / storage.HashChunk
		if other < name {
			before += n
		}
		total += n
	}
	f, err := untrusted.Open(m.Home.CheckpointDir(c.VM, c.ID), checkpoint.SumsFile, unix.O_RDONLY)
	if missing(err) {
		return storage.Hash{}, fmt.Errorf("%s is missing", checkpoint.SumsFile)
	} else if err != nil {
		return storage.Hash{}, err
	}
	defer f.Close()
	const size = int64(len(storage.Sum{}))
	if info, err := f.Stat(); err != nil || info.Size() != total*size { // before anything is allocated by a length
		return storage.Hash{}, fmt.Errorf("%s has not the %d bytes saved", checkpoint.SumsFile, total*size)
	}
	sums := storage.Hash{Length: c.Files[name].Length}
	sums.Chunks = make([]storage.Sum, (sums.Length+storage.HashChunk-1)/storage.HashChunk)
	saved := make([]byte, int64(len(sums.Chunks))*size)
	if _, err := f.ReadAt(saved, before*size); err != nil {
		return storage.Hash{}, err
	}
	for i := range sums.Chunks {
		sums.Chunks[i] = storage.Sum(saved[int64(i)*size:])
	}
	if sums.Root() != c.Files[name].Sum {
		return storage.Hash{}, fmt.Errorf("%s differs from what was saved: the data can be checked, but damage not placed", checkpoint.SumsFile)
	}
	return sums, nil
}

// checkSums looks at the sums themselves. A restore does not need them.
func (m *Manager) checkSums(c checkpoint.Record) error {
	if c.Files == nil {
		return nil
	}
	for _, name := range filesOf(c) {
		if _, err := m.savedSums(c, name); err != nil {
			return err
		}
	}
	return nil
}

// where says at which place a file differs from its sums, with a blank at the end; nothing when these cannot be read.
func (m *Manager) where(c checkpoint.Record, name string, hash storage.Hash) string {
	sums, err := m.savedSums(c, name)
	if err != nil {
		return ""
	}
	first, count := -1, 0
	for i := range sums.Chunks {
		if sums.Chunks[i] != hash.Chunks[i] {
			if count++; first < 0 {
				first = i
			}
		}
	}
	if count > 1 {
		return fmt.Sprintf("in %d places, the first at %d MiB, ", count, first)
	}
	return fmt.Sprintf("at %d MiB ", first)
}

// Verdict is what Verify found out about a checkpoint.
type Verdict struct {
	checkpoint.Record
	Problem error // nil for a sound one
	Note    string
}

// Verify looks at the checkpoint of name that ref means, at all of name with "" for ref, at all of the home with "" for
// both. With readData it reads all of them, else what is cheap. It takes no lock: what is forgotten meanwhile is left out, and
// is errs.ErrNotFound when it was named. progress, if not nil, is told of each large file before it is read, length in bytes.
func (m *Manager) Verify(ctx context.Context, name, ref string, readData bool, progress func(c checkpoint.Record, file string, length int64)) ([]Verdict, error) {
	entries, err := m.toVerify(ctx, name, ref)
	if err != nil {
		return nil, err
	}
	var verdicts []Verdict
	for _, e := range entries {
		v := Verdict{Record: e.Record, Problem: e.Err}
		if v.Problem == nil { // a listing may have it of the index
			c, err := m.Home.LoadCheckpoint(e.VM, e.ID)
			if err == nil {
				v.Record = c
				err = m.verify(ctx, c, readData, progress)
			}
			v.Problem = err
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if _, err := os.Lstat(m.Home.CheckpointDir(e.VM, e.ID)); missing(err) {
			if ref != "" {
				return nil, errs.Mark(fmt.Errorf("checkpoint %s@%s was forgotten meanwhile", e.VM, e.ID), errs.ErrNotFound)
			}
			continue
		}
		if v.Problem == nil && v.Files == nil {
			v.Note = "made by a noid that did not hash: lengths alone"
		}
		verdicts = append(verdicts, v)
	}
	return verdicts, nil
}

// verify is Verify for one checkpoint.
func (m *Manager) verify(ctx context.Context, c checkpoint.Record, readData bool, progress func(checkpoint.Record, string, int64)) error {
	reading := func(file string, length int64) {
		if progress != nil {
			progress(c, file, length)
		}
	}
	err := m.check(ctx, c, readData, reading)
	if err == nil {
		err = m.checkSums(c)
	}
	if err == nil {
		c.Boots = m.rehome(&c.Machine, c.Boots)
		err = checkBoots(ctx, c, readData)
	}
	if damage, ok := errors.AsType[*damageError](err); ok {
		return damage.err // whose it is, the verdict says
	}
	return err
}

func (m *Manager) toVerify(ctx context.Context, name, ref string) ([]home.CheckpointEntry, error) {
	if name != "" && ref != "" {
		c, err := m.Home.FindCheckpoint(ctx, name, ref)
		broken, ok := errors.AsType[*manifest.BrokenError](err)
		if ok {
			return []home.CheckpointEntry{{Record: checkpoint.Record{VM: name, ID: filepath.Base(filepath.Dir(broken.Path))}, Err: err}}, nil
		}
		return []home.CheckpointEntry{{Record: c}}, err
	}
	if name != "" {
		return m.Checkpoints(ctx, name)
	}
	owners, err := m.Home.CheckpointOwners()
	if err != nil {
		return nil, err
	}
	var all []home.CheckpointEntry
	for _, owner := range owners {
		list, err := m.Home.ListCheckpoints(ctx, owner)
		if err != nil && !errors.Is(err, errs.ErrNotFound) { // forgotten since
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}
