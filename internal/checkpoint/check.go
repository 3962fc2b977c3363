package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/manifest"
	"noid/internal/storage"
	"noid/internal/untrusted"
	"noid/internal/vmm"
)

// maxSmall is up to which length, in bytes, a file is hashed at each look: device state and console log are far below.
const maxSmall = 64 << 20

// FileNames returns the names of the files of c, sorted. Of what is in the pack it is the tables.
func (c Record) FileNames() []string {
	names := c.Contents()
	for i, name := range names {
		if c.InPack(name) {
			names[i] = TableFile(name)
		}
	}
	slices.Sort(names)
	return names
}

// Contents returns the names of what c has, sorted: of files, and of what is in the pack.
func (c Record) Contents() []string {
	names := []string{vmm.RootfsFile, vmm.SerialLogFile}
	if c.Machine.Base {
		names = append(names, vmm.BaseFile)
	}
	if c.Memory {
		names = append(names, vmm.MemorySnap, vmm.StateSnap)
	}
	slices.Sort(names)
	return names
}

// HashFile describes the file path.
func HashFile(ctx context.Context, path string) (manifest.File, error) {
	hash, err := storage.HashFile(ctx, path, storage.HashChunk)
	if err != nil {
		return manifest.File{}, err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return manifest.File{}, err
	}
	return manifest.FileOf(info, hash), nil
}

// Check compares the files of c, which are in dir, with what c says. A large file is read when somebody has written
// to it since, or with readData; reading, if not nil, is told of each before. The error says which file is damaged,
// and where.
func (c Record) Check(ctx context.Context, dir string, readData bool, reading func(file string, length int64)) error {
	if c.Files == nil { // of a noid that recorded lengths alone
		c.Files = map[string]manifest.File{vmm.RootfsFile: {Length: c.DiskLength}}
		if c.Memory {
			c.Files[vmm.MemorySnap], c.Files[vmm.StateSnap] = manifest.File{Length: c.MemoryLength}, manifest.File{Length: c.StateLength}
		}
	} else {
		for _, name := range append(c.FileNames(), c.Contents()...) {
			if _, ok := c.Files[name]; !ok {
				return damaged(c, "its record does not know %s", name)
			}
		}
	}
	for _, name := range c.FileNames() {
		want, ok := c.Files[name]
		if !ok {
			continue
		}
		path := filepath.Join(dir, name)
		info, err := os.Lstat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return damaged(c, "%s is missing", name)
		case err != nil:
			return damaged(c, "%w", err)
		case !info.Mode().IsRegular():
			return damaged(c, "%s is not a regular file", name)
		case info.Size() != want.Length:
			return damaged(c, "%s has %d bytes, not the %d saved", name, info.Size(), want.Length)
		case want.Sum == storage.Sum{}:
			continue // not hashed
		case !readData && want.Untouched(info) && (isDisk(name) || name == vmm.MemorySnap || info.Size() > maxSmall):
			continue
		}
		if reading != nil && want.Length > maxSmall {
			reading(name, want.Length)
		}
		hash, err := storage.HashFile(ctx, path, want.ChunkBytes())
		if errors.Is(err, unix.EIO) {
			return damaged(c, "%w", err)
		} else if err != nil {
			return err
		}
		if hash.Root() != want.Sum {
			return damaged(c, "%s differs %sfrom what was saved", name, c.where(dir, name, hash))
		}
	}
	for _, name := range c.Contents() {
		if c.InPack(name) {
			if err := c.checkContent(ctx, dir, name, readData, reading); err != nil {
				return err
			}
		}
	}
	return nil
}

func isDisk(name string) bool { return name == vmm.RootfsFile || name == vmm.BaseFile }

// DamageError is a checkpoint whose files are not what was saved.
type DamageError struct {
	of  Record
	Err error
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("checkpoint %s@%s is damaged: %v", e.of.VM, e.of.ID, e.Err)
}

func (e *DamageError) Unwrap() error { return e.Err }

func damaged(c Record, format string, args ...any) error {
	return errs.WithHint(&DamageError{c, fmt.Errorf(format, args...)},
		"restore another checkpoint; 'noid verify "+c.VM+" --read-data' looks at all of them")
}

// summed returns the names of the contents of whose chunks SumsFile has sums, sorted: all but the base, whose sum is the
// image's.
func (c Record) summed() []string {
	return slices.DeleteFunc(c.Contents(), func(name string) bool { return name == vmm.BaseFile })
}

// SavedSums reads the saved sums of a file's chunks, and compares them with the manifest.
func (c Record) SavedSums(dir, name string) (storage.Hash, error) {
	var before, total int64 // in sums
	for _, other := range c.summed() {
		n := c.Files[other].Chunks()
		if other < name {
			before += n
		}
		total += n
	}
	f, err := untrusted.Open(dir, SumsFile, unix.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return storage.Hash{}, fmt.Errorf("%s is missing", SumsFile)
	} else if err != nil {
		return storage.Hash{}, err
	}
	defer f.Close()
	const size = int64(len(storage.Sum{}))
	if info, err := f.Stat(); err != nil || info.Size() != total*size { // before anything is allocated by a length
		return storage.Hash{}, fmt.Errorf("%s has not the %d bytes saved", SumsFile, total*size)
	}
	file := c.Files[name]
	sums := storage.Hash{Length: file.Length, Chunk: file.ChunkBytes(), Chunks: make([]storage.Sum, file.Chunks())}
	if err := storage.ReadData(f, storage.SumBytes(sums.Chunks), before*size); err != nil {
		return storage.Hash{}, err
	}
	if sums.Root() != file.Sum {
		return storage.Hash{}, fmt.Errorf("%s differs from what was saved: noid can tell that a file is damaged, but not where", SumsFile)
	}
	return sums, nil
}

// CheckSums looks at the sums themselves. A restore does not need them.
func (c Record) CheckSums(dir string) error {
	if c.Files == nil {
		return nil
	}
	for _, name := range c.summed() {
		if _, err := c.SavedSums(dir, name); err != nil {
			return err
		}
	}
	return nil
}

// where says where a file differs from its sums, with a blank at the end. It is empty when these cannot be read.
func (c Record) where(dir, name string, hash storage.Hash) string {
	if !slices.Contains(c.summed(), name) {
		return ""
	}
	sums, err := c.SavedSums(dir, name)
	if err != nil {
		return ""
	}
	first, count := int64(-1), 0
	for i := range sums.Chunks {
		if sums.Chunks[i] != hash.Chunks[i] {
			if count++; first < 0 {
				first = int64(i)
			}
		}
	}
	if count > 1 {
		return fmt.Sprintf("in %d places, the first at %d MiB, ", count, first*sums.Chunk>>20)
	}
	return fmt.Sprintf("at %d MiB ", first*sums.Chunk>>20)
}
