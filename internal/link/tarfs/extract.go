package tarfs

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"noid/internal/errs"
)

// ExtractOptions say what Extract accepts and what it keeps.
type ExtractOptions struct {
	// Name is the one name, as of BaseName, that the stream may have, with what is below it. The stream must be a whole
	// one of Create's, and no symbolic link below the destination is followed. Without a Name any tar is unpacked, as
	// tar(1) would, but never outside of the destination.
	Name string
	// Others are further such names. The destination must then be a directory.
	Others []string
	// Recursive accepts more than one regular file a name.
	Recursive bool
	// Owners keeps owners and, where that worked, the set-uid, set-gid and sticky bits; extended attributes; and gives
	// directories that were there before what the stream says of them. Else everything belongs to the caller.
	Owners bool
	// Warn gets a line for each entry that could not be written.
	Warn func(string)
}

// ErrArchive is wrapped by the errors of a stream that is cut off, damaged, or not what was asked for.
var ErrArchive = errors.New("not the archive that was expected")

// Extract unpacks the tar r at dst by cp's rules: into dst if that is a directory, else as dst, whose directory must
// exist (errs.ErrNotFound); or into dst if that takes what is written to it, as a device does. A file gets its name by
// a rename when it is complete, or is written in place (see file). A cancelled ctx leaves no half new one, even while r
// blocks. An entry that cannot be written is a warning and counted in Stats.Failed. It is an error if it is the first
// one, or if nothing more can be written.
func Extract(ctx context.Context, r io.Reader, dst string, opts ExtractOptions) (Stats, error) {
	in, stop := readAhead(ctx, r)
	defer stop()
	if slices.Contains(opts.Others, Contents) {
		opts.Name = Contents
	}
	x := &extractor{ctx: ctx, in: in, tr: tar.NewReader(in), opts: opts, buf: make([]byte, 256<<10)}
	x.warner = warner{opts.Warn, &x.stats}
	defer x.close()
	err := x.run(dst)
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return x.stats, err
}

// readAhead reads r in a goroutine, so that reading and writing overlap. Once ctx is cancelled a Read returns at once:
// the file being written is then removed, even while r blocks. An r that never returns keeps the goroutine and its
// buffer.
func readAhead(ctx context.Context, r io.Reader) (_ io.Reader, stop func()) {
	out, in := io.Pipe()
	go func() {
		_, err := io.CopyBuffer(in, struct{ io.Reader }{r}, make([]byte, 256<<10))
		in.CloseWithError(err)
	}()
	cancelled := context.AfterFunc(ctx, func() { in.CloseWithError(ctx.Err()) })
	return out, func() { cancelled(); out.Close() }
}

type extractor struct {
	warner
	ctx    context.Context
	in     io.Reader
	tr     *tar.Reader
	opts   ExtractOptions
	stats  Stats
	seen   int64 // entries read
	buf    []byte
	root   *os.Root
	prefix []string // replaces Name: what of the destination's path is below root
	levels []level  // the directories that the last entry is in, below root
	// rewritten are files that were written in place: to write one again, by another of its names, would lose the
	// first.
	rewritten map[inode]bool
	goesOn    string   // the file of which more pieces come: after an error, run skips them
	out       *os.File // a device or pipe that takes the content of the one file
}

func (x *extractor) run(dst string) error {
	for ended := false; ; {
		h, err := x.tr.Next()
		switch {
		case err == io.EOF:
			return x.end(dst, ended)
		case err != nil && !errors.Is(err, tar.ErrInsecurePath): // names are checked below
			return x.archive(err)
		case ended:
			return fmt.Errorf("%w: it goes on after its end", ErrArchive)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			if n, ok := h.PAXRecords[endRecord]; ok && x.strict() {
				ended = n == strconv.FormatInt(x.seen, 10)
			}
			continue
		}
		if err := x.accept(h); err != nil {
			return err
		}
		x.seen++
		rest := x.goesOn != "" && h.Name == x.goesOn
		if x.note(h); rest {
			continue
		}
		first := x.root == nil && x.out == nil
		if first {
			if err := x.open(dst, h); err != nil {
				return err
			}
		}
		if x.out != nil {
			err = x.pour(h, first)
		} else {
			err = x.entry(h, first)
		}
		switch {
		case err == nil:
			x.stats.Entries++
		case first && x.strict(), x.out != nil, fatal(err):
			return err
		default:
			x.skip("%v", err)
		}
	}
}

// end finishes after the last entry. whole says that the stream's end record was right.
func (x *extractor) end(dst string, whole bool) error {
	switch {
	case x.strict() && !whole:
		return fmt.Errorf("%w: it ends early", ErrArchive)
	case x.out != nil:
		return x.out.Close()
	case x.root == nil && x.strict():
		return nil // a lone file that could not be read: its sender said so
	case x.root == nil:
		return x.open(dst, nil)
	}
	if err := x.leave(0); err != nil || x.strict() {
		return err
	}
	// tar(1) fills its last block up: whoever writes the stream shall not die of a closed pipe.
	_, err := io.CopyN(io.Discard, x.in, 1<<20)
	if err != nil && err != io.EOF {
		return streamError{err}
	}
	return nil
}

func (x *extractor) strict() bool { return x.opts.Name != "" }

// asked reports whether name is one that the stream may have.
func (x *extractor) asked(name string) bool {
	return name == x.opts.Name || slices.Contains(x.opts.Others, name)
}

// archive marks an error of reading the stream, unless it is the reader's own.
func (x *extractor) archive(err error) error {
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, tar.ErrFieldTooLong) || errors.Is(err, io.ErrUnexpectedEOF) {
		return streamError{fmt.Errorf("%w: %v", ErrArchive, err)}
	}
	return streamError{err}
}

// streamError ends the extraction: the stream cannot be read on.
type streamError struct{ error }

func (e streamError) Unwrap() error { return e.error }

// fatal reports whether nothing after err can succeed.
func fatal(err error) bool {
	if _, ok := errors.AsType[streamError](err); ok {
		return true
	}
	for _, kind := range []error{ErrArchive, syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EIO, syscall.EMFILE, syscall.ENFILE,
		context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// accept refuses what Create never sends, if it is Create's stream.
func (x *extractor) accept(h *tar.Header) error {
	if len(h.Name) > maxName || len(h.Linkname) > maxName {
		return fmt.Errorf("%w: a name of %d bytes", ErrArchive, max(len(h.Name), len(h.Linkname)))
	}
	if !x.strict() {
		return nil
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink:
		if !x.opts.Recursive && (h.Typeflag != tar.TypeReg || !x.asked(h.Name) || x.stats.Entries+x.stats.Failed > int64(len(x.opts.Others))) {
			return fmt.Errorf("%w: more than the file %q", ErrArchive, x.opts.Name)
		}
	default:
		return fmt.Errorf("%w: entry of type %q", ErrArchive, h.Typeflag)
	}
	if otherSparse(h) {
		return fmt.Errorf("%w: a sparse file of another kind", ErrArchive)
	}
	return nil
}

// otherSparse reports whether h is in one of tar's own sparse formats: a few hundred bytes can claim an exabyte of
// zeros.
func otherSparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// open finds out what dst is, and what name in which directory the first entry h gets. h is nil for an empty archive.
func (x *extractor) open(dst string, h *tar.Header) error {
	several := len(x.opts.Others) > 0
	if x.strict() && h != nil && !several {
		if err := x.openOut(dst, h); err != nil || x.out != nil {
			return err
		}
	}
	fi, err := os.Stat(dst)
	if err == nil && fi.IsDir() {
		if x.root, err = os.OpenRoot(dst); err != nil {
			return about(dst, err)
		}
		if x.strict() && x.opts.Name != Contents && !several {
			x.prefix = []string{x.opts.Name}
		}
		return nil
	}
	slash := strings.HasSuffix(dst, "/")
	isDir := h != nil && h.Typeflag == tar.TypeDir
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return about(dst, err)
	case !x.strict() && err == nil:
		return fmt.Errorf("%q is %s: a tar stream needs a directory", dst, describe(fi.Mode()))
	case !x.strict():
		return about(dst, err)
	case err == nil && (isDir || slash || several):
		return fmt.Errorf("%q is %s, not a directory", dst, describe(fi.Mode()))
	case err == nil && !fi.Mode().IsRegular():
		return fmt.Errorf("%q is %s: it is not replaced", dst, describe(fi.Mode()))
	case err == nil:
		if dst, err = filepath.EvalSymlinks(dst); err != nil { // as cp does, write what the link leads to
			return about(dst, err)
		}
	case slash && !isDir, several:
		return errs.New(errs.ErrNotFound, "%q: no such directory", dst)
	default:
		if _, err := os.Lstat(strings.TrimRight(dst, "/")); err == nil {
			return fmt.Errorf("%q is a symbolic link to nothing", dst)
		}
	}
	clean := filepath.Clean(dst)
	if x.root, err = os.OpenRoot(filepath.Dir(clean)); err != nil {
		return about(filepath.Dir(clean), err)
	}
	x.prefix = []string{filepath.Base(clean)}
	return nil
}

// split turns a name in the stream into one below root.
func (x *extractor) split(name string) ([]string, error) {
	var parts []string
	for part := range strings.SplitSeq(name, "/") {
		switch part {
		case "", ".": // an absolute name becomes a relative one, as with tar(1); Create sends none
		case "..":
			return nil, fmt.Errorf("%w: the name %q", x.bad(), name)
		default:
			parts = append(parts, part)
		}
	}
	if x.strict() {
		switch {
		case strings.HasPrefix(name, "/"):
			return nil, fmt.Errorf("%w: the name %q", ErrArchive, name)
		case x.opts.Name != Contents:
			if len(parts) == 0 || !x.asked(parts[0]) {
				return nil, fmt.Errorf("%w: %q, and %q was asked for", ErrArchive, name, x.opts.Name)
			}
			if len(x.opts.Others) == 0 {
				parts = parts[1:]
			}
		}
		parts = append(x.prefix[:len(x.prefix):len(x.prefix)], parts...)
	}
	if len(parts) > maxDepth+1 {
		return nil, fmt.Errorf("%w: %d directories deep", x.bad(), len(parts))
	}
	return parts, nil
}

var errName = errors.New("unfit for this archive")

// bad is the kind of an error of a bad name: Create sends none, of other tars it is one entry that is skipped.
func (x *extractor) bad() error {
	if x.strict() {
		return ErrArchive
	}
	return errName
}
