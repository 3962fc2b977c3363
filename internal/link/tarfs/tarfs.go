// Package tarfs moves files between a host and a guest as a tar stream. The host uses it in 'noid cp', the guest as a
// tool of its agent (Main).
//
// What arrives is not trusted. Extract works through os.Root and follows no symbolic link below the destination. It
// accepts only the name that was asked for and what is below it. Its memory does not grow with the number of files.
//
// The stream is a tar with vendor records. NOID.sparse is the map of a sparse file whose holes were left out. NOID.more
// says that the next entry goes on with this one's file, whose length was not known beforehand. NOID.end, in a last
// global header, shows that the stream is whole: a tar cut off between two files looks whole, too. With
// CreateOptions.Plain none of them is written, and any tar reads it.
package tarfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"noid/internal/errs"
)

// Vendor records in PAX headers.
const (
	sparseRecord = "NOID.sparse" // see sparseMap
	moreRecord   = "NOID.more"   // "1"
	endRecord    = "NOID.end"    // the number of entries before it
)

// Limits of what Extract accepts and Create sends. The archive/tar package bounds a header with its records to about 1
// MiB.
const (
	maxDepth   = 1000     // of directories: each costs Create and Extract an open one
	maxName    = 64 << 10 // bytes of an entry's name
	maxLinks   = 1 << 16  // files with several names that Create remembers; it sends others once for each name
	tempPrefix = ".noid-" // of a file that is not complete yet
)

// Stats counts what was done.
type Stats struct {
	Entries int64 // files, directories and links; of Create's, also pieces
	Bytes   int64 // of file content, holes left out
	Failed  int64 // entries that were skipped, each with a warning
}

// Contents is the name in a stream whose files go into the destination itself, not below a name of their own.
const Contents = "."

// BaseName is the name that Create gives to src in the stream: its last element, or Contents for "/", and for what ends
// in "/." or is "." or "..": whose contents are meant.
func BaseName(src string) string {
	src = strings.TrimRight(src, "/")
	switch name := path.Base(src); name {
	case ".", "..", "/":
		return Contents
	default:
		return name
	}
}

// warner counts the entries that failed and passes on why.
type warner struct {
	warn  func(string)
	stats *Stats
}

// skip notes that an entry was not copied, or not as it was.
func (w warner) skip(format string, args ...any) {
	w.stats.Failed++
	if w.warn != nil {
		w.warn(fmt.Sprintf(format, args...))
	}
}

// describe names what cannot be copied or replaced.
func describe(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a directory"
	case m&fs.ModeSymlink != 0:
		return "a symbolic link"
	case m&fs.ModeNamedPipe != 0:
		return "a FIFO"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeDevice != 0:
		return "a device"
	case m.IsRegular():
		return "a file"
	}
	return "a special file"
}

// cause is err without the system call and the path around it, which the caller names better.
func cause(err error) error {
	switch e := err.(type) {
	case *fs.PathError:
		return e.Err
	case *os.LinkError:
		return e.Err
	}
	return err
}

// about says what happened to name. A file that is not there is errs.ErrNotFound.
func about(name string, err error) error {
	c := cause(err)
	err = fmt.Errorf("%q: %w", name, c)
	if errors.Is(c, fs.ErrNotExist) {
		return errs.Mark(err, errs.ErrNotFound)
	}
	return err
}

// clampTime keeps t within what 64 bits of nanoseconds can say; beyond, it is the zero time, which sets nothing.
func clampTime(t time.Time) time.Time {
	if y := t.Year(); y < 1679 || y > 2261 {
		return time.Time{}
	}
	return t
}
