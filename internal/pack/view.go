package pack

import (
	"fmt"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// view is a file as the page cache has it: what is read is not copied first.
type view struct {
	f    *os.File
	data []byte
}

func newView(f *os.File, length int64) (v view, err error) {
	v.f = f
	if length > 0 {
		if v.data, err = unix.Mmap(int(f.Fd()), 0, int(length), unix.PROT_READ, unix.MAP_SHARED); err != nil {
			return v, fmt.Errorf("mapping %s: %w", f.Name(), err)
		}
		unix.Madvise(v.data, unix.MADV_RANDOM) // read ahead, holes of reserved blocks would become data
	}
	return v, nil
}

func (v view) close() {
	if v.data != nil {
		unix.Munmap(v.data)
	}
}

// fetch has the kernel read what the page cache lacks of the length bytes from off.
func (v view) fetch(off, length int64) { unix.Fadvise(int(v.f.Fd()), off, length, unix.FADV_WILLNEED) }

// guarded is do, which reads v.data. What the file has not, or the disk cannot give, is an error.
func (v view) guarded(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch fault := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }:
			err = fmt.Errorf("reading %s: it became shorter meanwhile, or %w", v.f.Name(), unix.EIO)
		default:
			panic(fault)
		}
	}()
	return do()
}
