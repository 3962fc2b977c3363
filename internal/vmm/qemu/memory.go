package qemu

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"noid/internal/storage"
	"noid/internal/untrusted"
	"noid/internal/vmm"
)

// newMemory makes dir/memory anew, all holes. When it fails, the file is gone.
func newMemory(dir string, mib int) (*os.File, error) {
	path := filepath.Join(dir, memoryFile)
	if err := vmm.Remove(dir, memoryFile); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("making the guest's memory: %w", err)
	}
	if err := f.Truncate(int64(mib) << 20); err != nil {
		f.Close()
		os.Remove(path)
		return nil, fmt.Errorf("making the guest's memory: %w", err)
	}
	return f, nil
}

// loadMemory makes dir/memory for a load, and returns the file of which fillMemory is to make it: none for own, where it
// is the saved memory itself.
func loadMemory(dir string, mib int, own bool) (f *os.File, from string, err error) {
	from = filepath.Join(dir, vmm.MemorySnap)
	if !own {
		f, err = newMemory(dir, mib)
		return f, from, err
	}
	if err := os.Rename(from, filepath.Join(dir, memoryFile)); err != nil {
		return nil, "", fmt.Errorf("taking the saved memory: %w", err)
	}
	f, err = untrusted.Open(dir, memoryFile, os.O_RDWR)
	return f, "", err
}

// fillMemory puts the saved memory at from into the file of newMemory, if from is not empty, and closes it. The file
// gets blocks of its own where it shares none and the file system can promise them: a guest that touches a page for
// which there is no block takes its QEMU down by SIGBUS. When it fails, the file is gone.
func fillMemory(ctx context.Context, memory *os.File, from string, mib int, touched vmm.Touched) (reserved bool, err error) {
	method := storage.Copy
	if from != "" {
		method, err = storage.CloneInto(ctx, memory, from)
	}
	if closeErr := memory.Close(); err == nil {
		err = closeErr
	}
	if err == nil && method == storage.Reflink { // a clone has nothing in the page cache, whatever its source has
		touched.ReadAhead(filepath.Dir(memory.Name()), memoryFile)
	}
	if err == nil && method == storage.Copy {
		reserved, err = storage.Reserve(ctx, memory.Name(), int64(mib)<<20)
	}
	if err != nil {
		os.Remove(memory.Name())
		return false, fmt.Errorf("making the guest's memory: %w", err)
	}
	return reserved, nil
}
