package storage

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
)

// reservedFile makes a file of size bytes with reserved blocks, or skips.
func reservedFile(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "memory")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	done, err := Reserve(t.Context(), path, size)
	if err != nil {
		t.Fatal(err)
	}
	if !done {
		t.Skipf("NOT RUN: nothing is reserved on %s", FSType(filepath.Dir(path)))
	}
	return path
}

func blocks(t *testing.T, path string) int64 {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

func TestCloneOfReservedFile(t *testing.T) {
	const size = 64 << 20
	path := reservedFile(t, size)
	if got := blocks(t, path); got < size {
		t.Fatalf("%d bytes reserved of %d", got, size)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	mem, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mem)
	// As a guest does: some pages written, some read, all around them read ahead. More runs than one look at the map
	// holds.
	for off := 0; off < size/2; off += 64 << 10 {
		mem[off] = byte(off>>16) | 1
	}
	sum := byte(0)
	for off := size / 2; off < size; off += 4096 {
		sum |= mem[off]
	}
	if sum != 0 {
		t.Fatal("a reserved block is not all zeros")
	}
	for range 2 { // the first copy must not make the second one larger
		to := filepath.Join(t.TempDir(), "copy")
		if _, err := Clone(t.Context(), to, path); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(to)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, mem) {
			t.Error("the copy differs from the file")
		}
		if err := SyncFile(t.Context(), to); err != nil {
			t.Fatal(err)
		}
		if b := blocks(t, to); b > size*3/4 {
			t.Errorf("the copy takes %d bytes of disk: what was reserved was copied", b)
		}
	}
	data, err := DataBytes(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if data < size/2/(64<<10)*4096 || data > size*3/4 {
		t.Errorf("DataBytes is %d", data)
	}
}

func TestReserveMoreThanThereIs(t *testing.T) {
	path := reservedFile(t, 1<<20)
	free, err := Free(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	if free > 8<<40 { // ext4's files end at 16 TiB
		t.Skip("NOT RUN: the disk is too large to be asked for more")
	}
	before := blocks(t, path)
	if err := os.Truncate(path, 2*free); err != nil {
		t.Fatal(err)
	}
	if _, err := Reserve(t.Context(), path, 2*free); !errors.Is(err, unix.ENOSPC) || !errors.Is(err, errs.ErrHost) {
		t.Errorf("Reserve of twice the free space: %v", err)
	}
	if got := blocks(t, path); got != before {
		t.Errorf("%d bytes are reserved, %d before it failed", got, before)
	}
}
