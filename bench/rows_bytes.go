package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rowBytes counts, of each of ten checkpoints after the first, the bytes on the disk that none before it has, all its
// files together; and the bytes of memory and disk that differ from the checkpoint before it, with the device state.
func rowBytes(x *trial) error {
	const count, mib = 10, 256
	name, err := x.create(mib)
	if err != nil {
		return err
	}
	var dirs []string
	var ids []string
	for range count + 1 {
		if err := x.set(name, fmt.Sprintf("idle-%d", len(ids))); err != nil {
			return err
		}
		t, err := x.checkpoint(name)
		if err != nil {
			return err
		}
		ids = append(ids, t.id)
		dirs = append(dirs, filepath.Join(x.home, "storage/checkpoints", name, t.id))
	}
	for i, id := range ids {
		if err := x.check(name, id, fmt.Sprintf("idle-%d", i)); err != nil {
			return err
		}
	}
	seen := map[uint64]bool{}
	var own, changed []float64
	for i, dir := range dirs {
		added, err := blocksOf(dir, seen)
		if errors.Is(err, unix.EOPNOTSUPP) {
			return notRun("the file system does not tell where its files lie (FIEMAP)")
		} else if err != nil {
			return err
		}
		if i == 0 {
			continue
		}
		state, err := os.Stat(filepath.Join(dir, savedState))
		if err != nil {
			return err
		}
		bytes := state.Size()
		for _, file := range []string{savedMem, diskFile} {
			n, err := differing(filepath.Join(dirs[i-1], file), filepath.Join(dir, file))
			if err != nil {
				return err
			}
			bytes += n
		}
		own, changed = append(own, float64(added)/1024), append(changed, float64(bytes)/1024)
	}
	x.add(result{Name: fmt.Sprintf("%s, %d MiB", x.r.what, mib), Unit: "KiB", A: own, B: changed})
	return nil
}

const blockSize = 4096

// differing returns how many bytes lie in the 4 KiB pages in which two files differ.
func differing(a, b string) (int64, error) {
	fa, err := os.Open(a)
	if err != nil {
		return 0, err
	}
	defer fa.Close()
	fb, err := os.Open(b)
	if err != nil {
		return 0, err
	}
	defer fb.Close()
	var n int64
	for pa, pb := make([]byte, 1<<20), make([]byte, 1<<20); ; {
		na, erra := io.ReadFull(fa, pa)
		nb, errb := io.ReadFull(fb, pb)
		if na != nb {
			return 0, fmt.Errorf("%s and %s differ in length", a, b)
		}
		for at := 0; at < na; at += blockSize {
			end := min(at+blockSize, na)
			if !bytes.Equal(pa[at:end], pb[at:end]) {
				n += int64(end - at)
			}
		}
		if erra != nil || errb != nil { // the end: both are as long
			if !errors.Is(erra, io.EOF) && !errors.Is(erra, io.ErrUnexpectedEOF) {
				return 0, erra
			}
			return n, nil
		}
	}
}

// blocksOf returns how many bytes of disk the files in dir have that are not in seen yet, and adds them. Data that lies
// in the file system's own records counts by its length.
func blocksOf(dir string, seen map[uint64]bool) (added int64, err error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		extents, err := fiemap(filepath.Join(dir, file.Name()))
		if err != nil {
			return 0, err
		}
		for _, e := range extents {
			if e.flags&fiemapInline != 0 {
				added += int64(e.length)
				continue
			}
			for at := e.physical / blockSize; at < (e.physical+e.length+blockSize-1)/blockSize; at++ {
				if !seen[at] {
					seen[at] = true
					added += blockSize
				}
			}
		}
	}
	return added, nil
}

// The FIEMAP ioctl, linux/fiemap.h.
const (
	fiemapIoctl  = 0xc020660b
	fiemapSync   = 1
	fiemapLast   = 1
	fiemapInline = 0x200
)

type fiemapExtent struct {
	logical, physical, length uint64
	_                         [2]uint64
	flags                     uint32
	_                         [3]uint32
}

// fiemap returns where a file's data lies on its disk.
func fiemap(path string) (all []fiemapExtent, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var request struct {
		start, length         uint64
		flags, mapped, count_ uint32
		_                     uint32
		extents               [256]fiemapExtent
	}
	for {
		request.length, request.flags, request.mapped, request.count_ = 1<<63, fiemapSync, 0, uint32(len(request.extents))
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fiemapIoctl, uintptr(unsafe.Pointer(&request))); errno != 0 {
			return nil, fmt.Errorf("FIEMAP of %s: %w", path, errno)
		}
		for _, e := range request.extents[:request.mapped] {
			all = append(all, e)
			request.start = e.logical + e.length
			if e.flags&fiemapLast != 0 {
				return all, nil
			}
		}
		if request.mapped == 0 {
			return all, nil
		}
	}
}
