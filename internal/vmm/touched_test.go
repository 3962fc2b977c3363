package vmm

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"noid/internal/proc"
	"noid/internal/storage"
)

// TestTouched maps a file, touches two places of it, and reads these alone ahead.
func TestTouched(t *testing.T) {
	const length = 4 << 20
	dir := t.TempDir()
	if storage.FSType(dir) == "tmpfs" {
		t.Skip("NOT RUN: a tmpfs is all page cache")
	}
	f, err := os.Create(filepath.Join(dir, "memory"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(bytes.Repeat([]byte{1}, length)); err != nil {
		t.Fatal(err)
	}
	data, err := unix.Mmap(int(f.Fd()), 0, length, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(data)
	unix.Madvise(data, unix.MADV_RANDOM) // a fault reads one page
	evict(t, f, data)
	info, _ := f.Stat()
	self, err := proc.Identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := FindTouched(self, info); err == nil {
		t.Errorf("nothing was touched, and it says %b", got)
	}
	places := []int64{touchedUnit, length - touchedUnit}
	for _, at := range places {
		if data[at] != 1 {
			t.Error("it does not have what was written")
		}
	}
	got, err := FindTouched(self, info)
	if err != nil || int64(len(got)) != TouchedLength(length>>20) || !slices.Equal(starts(got), places) {
		t.Fatalf("%v are touched, it says %v, %v", places, starts(got), err)
	}

	evict(t, f, data)
	got.ReadAhead(dir, "memory")
	for !slices.Equal(resident(t, data), places) { // until the test's limit
		if r := resident(t, data); len(r) > len(places) {
			t.Fatalf("%v were read ahead, and %v", places, r)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// evict takes f, which is mapped as data, out of the page cache.
func evict(t *testing.T, f *os.File, data []byte) {
	for {
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		unix.Madvise(data, unix.MADV_DONTNEED)
		unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
		if len(resident(t, data)) == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// starts returns where what t has begins, a unit each.
func starts(t Touched) (list []int64) {
	for start, end := range t.runs() {
		for ; start < end; start += touchedUnit {
			list = append(list, start)
		}
	}
	return list
}

// resident returns which units of data, a mapping, are in the page cache as a whole.
func resident(t *testing.T, data []byte) (list []int64) {
	pages := make([]byte, len(data)/os.Getpagesize())
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&data[0])), uintptr(len(data)), uintptr(unsafe.Pointer(&pages[0]))); errno != 0 {
		t.Fatal(errno)
	}
	per := touchedUnit / os.Getpagesize()
	for i := 0; i < len(pages); i += per {
		if !slices.ContainsFunc(pages[i:i+per], func(b byte) bool { return b&1 == 0 }) {
			list = append(list, int64(i/per*touchedUnit))
		}
	}
	return list
}

// FuzzTouched reads ahead by any bytes: what lies beyond the file, or is too much, is left out.
func FuzzTouched(f *testing.F) {
	f.Add([]byte{0x81, 0, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		last := int64(0)
		for start, end := range Touched(data).runs() {
			if start < last || end <= start || end > int64(len(data))*8*touchedUnit {
				t.Errorf("%x has a part from %d to %d, after %d", data, start, end, last)
			}
			last = end + 1
		}
	})
}
