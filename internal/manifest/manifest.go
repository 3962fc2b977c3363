// Package manifest reads and writes the JSON records beside the files that they describe. A record may be damaged, or
// come from a hostile VMM: reads are bounded, and follow no link.
package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/storage"
)

// Format is the version of vm.json and checkpoint.json.
const Format = 2

// PackedFormat is the version of a checkpoint.json that names a pack: an older noid must not take it for a damaged one.
const PackedFormat = 3

// maxLength bounds what is read of a manifest, in bytes.
const maxLength = 1 << 20

// File is a regular file as it was when it was looked at.
type File struct {
	Length  int64       `json:"length"`
	Sum     storage.Sum `json:"xxh3"`            // storage.Hash's Root
	Chunk   int64       `json:"chunk,omitempty"` // storage.Hash's; see ChunkBytes
	Ino     uint64      `json:"ino"`
	MtimeNs int64       `json:"mtime_ns"`
}

// Untouched reports whether info is of the very file, not written to since. Bytes that rot on the disk do not show.
func (f File) Untouched(info fs.FileInfo) bool {
	return info.Mode().IsRegular() && StampOf(info) == Stamp{f.Ino, f.Length, f.MtimeNs}
}

// FileOf is the file of info, whose contents are h.
func FileOf(info fs.FileInfo, h storage.Hash) File {
	st := StampOf(info)
	return File{Length: h.Length, Sum: h.Root(), Chunk: h.Chunk, Ino: st.Ino, MtimeNs: st.MtimeNs}
}

// ChunkBytes is how many bytes of the file one of its sums stands for.
func (f File) ChunkBytes() int64 {
	if f.Chunk < storage.FineChunk || f.Chunk > storage.HashChunk { // of a noid that knew one size alone, or nonsense
		return storage.HashChunk
	}
	return f.Chunk
}

// Chunks is how many sums the file has.
func (f File) Chunks() int64 { return storage.ChunksOf(f.Length, f.ChunkBytes()) }

// BrokenError is a VM or checkpoint whose directory is there but whose manifest cannot be used.
type BrokenError struct {
	Path string // the manifest
	Err  error
}

func (e *BrokenError) Error() string {
	if errors.Is(e.Err, errs.ErrHost) { // a newer noid's is whole
		return fmt.Sprintf("%s: %v", e.Path, e.Err)
	}
	return fmt.Sprintf("damaged %s: %v", e.Path, e.Err)
}

func (e *BrokenError) Unwrap() error { return e.Err }

// Encode makes the bytes of a manifest. A record too long to be read back is an error.
func Encode(record any) ([]byte, error) {
	data, err := json.MarshalIndent(record, "", "  ")
	if err == nil && len(data) >= maxLength { // it could not be read back
		err = fmt.Errorf("%d bytes are more than the %d allowed", len(data), maxLength)
	}
	return append(data, '\n'), err
}

// Broken wraps err, met with the manifest in dir. A missing directory is fs.ErrNotExist and no damage.
func Broken(err error, dir, manifest string) error {
	if err == nil {
		return nil
	}
	if _, statErr := os.Lstat(dir); errors.Is(statErr, fs.ErrNotExist) {
		return statErr
	}
	// The path is in BrokenError already; fs.ErrNotExist must not show through, since the VM does exist.
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.New("it is missing")
	} else if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	return &BrokenError{filepath.Join(dir, manifest), err}
}

// CheckFormat refuses what a newer noid wrote, of a format after newest, with errs.ErrHost, and what has no format number.
func CheckFormat(format, newest int) error {
	switch {
	case format > newest:
		return errs.New(errs.ErrHost, "a newer noid wrote it: its format is %d, this noid knows %d", format, newest).Hint("upgrade noid")
	case format < 1:
		return errors.New("it has no format number")
	}
	return nil
}

// Stamp tells one version of a file from another without reading it: every save makes a new inode.
type Stamp struct {
	Ino           uint64
	Size, MtimeNs int64
}

// StampAt is the Stamp of the regular file path, from the directory dir, or none.
func StampAt(dir *os.File, path string) Stamp {
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), path, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return Stamp{}
	}
	return Stamp{st.Ino, st.Size, st.Mtim.Nano()}
}

// StampOf is the stamp of the file that info is of.
func StampOf(info fs.FileInfo) Stamp {
	return Stamp{info.Sys().(*syscall.Stat_t).Ino, info.Size(), info.ModTime().UnixNano()}
}

// Read reads a small regular file. It follows no link and does not wait for the writer of a FIFO.
func Read(path string) ([]byte, Stamp, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, Stamp{}, errors.New("it is a symbolic link")
	} else if err != nil {
		return nil, Stamp{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, Stamp{}, err
	}
	if !info.Mode().IsRegular() {
		return nil, Stamp{}, errors.New("it is not a regular file")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxLength+1))
	if err == nil && len(data) > maxLength {
		err = fmt.Errorf("it is longer than %d bytes", maxLength)
	}
	return data, StampOf(info), err
}
