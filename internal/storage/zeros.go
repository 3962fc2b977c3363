package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// PunchZeros makes holes of those chunks of the file path that are zeros by its hash h and take blocks. Nobody may write
// to the file meanwhile. It reads the same afterwards, and keeps its time of modification. Where the file system has no
// holes, or no space to make some, zeros stay on disk, which is no error. No more is written than what the holes took.
func PunchZeros(ctx context.Context, path string, h Hash) error {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("punching holes: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && (!info.Mode().IsRegular() || info.Size() != h.Length) {
		err = fmt.Errorf("%s is not the file that was hashed", path)
	}
	if err != nil {
		return fmt.Errorf("punching holes: %w", err)
	}
	holes := h.zeroRuns(f)
	if len(holes) == 0 {
		return nil
	}
	pinning := h.pinning(f, holes)
	for _, z := range holes {
		err = ctx.Err()
		if err == nil {
			err = retry(func() error {
				return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, z.start, z.end-z.start)
			})
		}
		if err != nil {
			break
		}
	}
	if err == nil {
		err = rewrite(ctx, f, pinning)
	}
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		err = nil
	}
	if err == nil {
		err = keepTime(path, info)
	}
	if err != nil {
		return fmt.Errorf("punching holes into %s: %w", path, err)
	}
	return nil
}

// zone is a range of bytes of a file.
type zone struct{ start, end int64 }

// add appends s to list, whose last ends before s or where it starts.
func add(list []zone, s zone) []zone {
	if n := len(list) - 1; n >= 0 && list[n].end >= s.start {
		list[n].end = max(list[n].end, s.end)
		return list
	}
	return append(list, s)
}

// zeroRuns returns where f has data and h has sums of zeros, in whole chunks.
func (h Hash) zeroRuns(f *os.File) (list []zone) {
	for start, end := range dataRuns(f, h.Length) {
		for i := start / h.Chunk; i*h.Chunk < end; i++ {
			if h.Chunks[i] == (Sum{}) {
				list = add(list, zone{i * h.Chunk, min((i+1)*h.Chunk, h.Length)})
			}
		}
	}
	return list
}

// pinning returns what else is in extents of f, and of no other file, that will be at least half holes. btrfs frees an
// extent, of up to 128 MiB, when nothing of it is used any more: what is left of it has to be written anew, which puts
// it elsewhere. Other file systems free parts.
func (h Hash) pinning(f *os.File, holes []zone) (list []zone) {
	if FSType(f.Name()) != "btrfs" {
		return nil
	}
	for e, err := range extents(f, fiemapSync) {
		if err != nil {
			return nil
		}
		for len(holes) > 0 && holes[0].end <= int64(e.logical) {
			holes = holes[1:]
		}
		if e.flags&(extentShared|extentOdd|extentUnwritten) != 0 {
			continue
		}
		left, zeros, at := []zone(nil), int64(0), int64(e.logical)
		for _, hole := range holes {
			if hole.start >= e.end() {
				break
			}
			start, end := max(hole.start, at), min(hole.end, e.end())
			if start > at {
				left = append(left, zone{at, start})
			}
			zeros, at = zeros+end-start, end
		}
		if at < e.end() {
			left = append(left, zone{at, min(e.end(), h.Length)})
		}
		if zeros >= int64(e.length)/2 {
			list = append(list, left...)
		}
	}
	return list
}

// rewrite writes what f has in list once more.
func rewrite(ctx context.Context, f *os.File, list []zone) error {
	buf := make([]byte, HashChunk)
	for _, z := range list {
		for at := z.start; at < z.end; at += HashChunk {
			if err := ctx.Err(); err != nil {
				return err
			}
			piece := buf[:min(HashChunk, z.end-at)]
			if _, err := f.ReadAt(piece, at); err != nil {
				return err
			}
			if _, err := f.WriteAt(piece, at); err != nil {
				return err
			}
		}
	}
	return nil
}

// keepTime gives path the time of modification that info has.
func keepTime(path string, info fs.FileInfo) error {
	mtime, err := unix.TimeToTimespec(info.ModTime())
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{{Nsec: unix.UTIME_OMIT}, mtime}, unix.AT_SYMLINK_NOFOLLOW)
}
