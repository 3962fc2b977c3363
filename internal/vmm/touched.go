package vmm

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"noid/internal/proc"
	"noid/internal/untrusted"
)

// Touched says which parts of a guest's memory were touched: a bit for each 64 KiB, which are what a fault maps at once
// of a file that is in the page cache. The first part is the lowest bit of the first byte. No bytes are wrong: what
// they name beyond the memory counts for nothing.
type Touched []byte

const (
	touchedUnit = 64 << 10
	// maxTouched is how many bytes of memory FindTouched says were touched, and ReadAhead reads: more is no start of
	// anything.
	maxTouched = 256 << 20
	// readAhead is how many bytes ReadAhead asks for at a time: of more, Linux would read no more than a device's window.
	readAhead = 128 << 10
)

// TouchedLength is how many bytes a Touched of memMiB of memory has.
func TouchedLength(memMiB int) int64 { return (int64(memMiB)<<20/touchedUnit + 7) / 8 }

// ReadAhead has the kernel read into the page cache what it lacks of the parts of dir/name, a file as long as the guest's
// memory. It does not wait for that.
func (t Touched) ReadAhead(dir, name string) {
	f, err := untrusted.Open(dir, name, unix.O_RDONLY)
	if len(t) == 0 || err != nil {
		return
	}
	go func() {
		defer f.Close()
		left := maxTouched / readAhead
		for start, end := range t.runs() {
			for ; start < end; start += readAhead {
				if left--; left < 0 {
					return
				}
				unix.Fadvise(int(f.Fd()), start, min(readAhead, end-start), unix.FADV_WILLNEED)
			}
		}
	}()
}

// runs yields the parts in order, those that touch each other as one, as offsets in bytes.
func (t Touched) runs() iter.Seq2[int64, int64] {
	has := func(i int64) bool { return i/8 < int64(len(t)) && t[i/8]>>(i%8)&1 != 0 }
	return func(yield func(start, end int64) bool) {
		for i := int64(0); i < int64(len(t))*8; i++ {
			start := i
			for has(i) {
				i++
			}
			if i > start && !yield(start*touchedUnit, i*touchedUnit) {
				return
			}
		}
	}
}

// FindTouched returns what the VMM p has touched of the file memory, which is mapped as its guest's memory. The page
// cache does not tell this: it has all that was written of late, and what was read around it. It fails when that is too
// much.
func FindTouched(p proc.Process, memory fs.FileInfo) (Touched, error) {
	st, ok := memory.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, fmt.Errorf("%s has no inode", memory.Name())
	}
	dir := filepath.Join("/proc", strconv.Itoa(p.PID))
	maps, err := os.Open(filepath.Join(dir, "maps"))
	if err != nil {
		return nil, err
	}
	defer maps.Close()
	pages, err := os.Open(filepath.Join(dir, "pagemap"))
	if err != nil {
		return nil, err
	}
	defer pages.Close()
	t := make(Touched, TouchedLength(int((memory.Size()+1<<20-1)>>20)))
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		var start, end, off, inode uint64
		var flags, device string
		// The device is none to compare: btrfs tells another one to stat(2).
		if n, _ := fmt.Sscanf(lines.Text(), "%x-%x %s %x %s %d", &start, &end, &flags, &off, &device, &inode); n == 6 && inode == st.Ino && off < uint64(memory.Size()) {
			if err := t.add(pages, int64(start), int64(end), int64(off)); err != nil {
				return nil, err
			}
		}
	}
	sum := int64(0)
	for start, end := range t.runs() {
		sum += end - start
	}
	if sum == 0 || sum > maxTouched {
		return nil, fmt.Errorf("%d MiB of %s are touched", sum>>20, memory.Name())
	}
	return t, nil
}

// add adds what is present, by /proc/PID/pagemap, of what is mapped at the addresses from start to end: the memory from
// off on.
func (t Touched) add(pages *os.File, start, end, off int64) error {
	page := int64(os.Getpagesize())
	r := bufio.NewReaderSize(io.NewSectionReader(pages, start/page*8, (end-start)/page*8), 1<<20)
	for ; start < end; start, off = start+page, off+page {
		var entry [8]byte
		if _, err := io.ReadFull(r, entry[:]); err != nil {
			return err
		}
		const present = 1 << 63
		if unit := off / touchedUnit; binary.NativeEndian.Uint64(entry[:])&present != 0 && unit/8 < int64(len(t)) {
			t[unit/8] |= 1 << (unit % 8)
		}
	}
	return nil
}
