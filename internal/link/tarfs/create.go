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
	"time"

	"noid/internal/errs"
)

// CreateOptions say how Create packs.
type CreateOptions struct {
	Recursive bool // take directories. Without it a symbolic link given as a path is followed
	Plain     bool // a tar that any tar reads, sparse files as long as they seem
	Owners    bool // extended attributes too, as records that tar(1) reads with --xattrs
	// Warn gets a line for each entry that is left out.
	Warn func(string)
}

// Create writes paths as a tar to w. What cannot be read is left out with a warning and counted in Stats.Failed. A path
// that is not there is errs.ErrNotFound, a directory without Recursive errs.ErrUsage.
func Create(ctx context.Context, w io.Writer, paths []string, opts CreateOptions) (Stats, error) {
	c := &creator{tw: tar.NewWriter(stream{ctx, w}), opts: opts, links: map[inode]string{}, buf: make([]byte, 256<<10)}
	c.warner = warner{opts.Warn, &c.stats}
	for _, p := range paths {
		if err := c.check(p, len(paths)); err != nil {
			return c.stats, err
		}
	}
	for _, p := range paths {
		if err := c.top(p); err != nil {
			return c.stats, err
		}
	}
	c.sayLeftOut()
	return c.stats, c.end()
}

// end ends the tar.
func (c *creator) end() error {
	if !c.opts.Plain {
		end := &tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{endRecord: strconv.FormatInt(c.stats.Entries, 10)}}
		if err := c.tw.WriteHeader(end); err != nil {
			return err
		}
	}
	return c.tw.Close()
}

// stream is the writer below a tar. Its errors, and the end of its context, are final: a streamError.
type stream struct {
	ctx context.Context
	w   io.Writer
}

func (s stream) Write(b []byte) (n int, err error) {
	if err = s.ctx.Err(); err == nil {
		n, err = s.w.Write(b)
	}
	if err != nil {
		err = streamError{err}
	}
	return n, err
}

// report makes a warning of an error, unless the stream cannot go on.
func (c *creator) report(err error) error {
	if _, ok := errors.AsType[streamError](err); ok || err == nil {
		return err
	}
	c.skip("%v", err)
	return nil
}

func changed(name string) error { return fmt.Errorf("%q changed while it was read", name) }

type inode struct{ dev, ino uint64 }

type creator struct {
	warner
	tw      *tar.Writer
	opts    CreateOptions
	links   map[inode]string
	stats   Stats
	buf     []byte
	kernels []string // directories whose content was left out: file systems of the kernel's own
}

// check looks at one of several sources before the first is sent.
func (c *creator) check(src string, of int) error {
	if of == 1 {
		return nil // top does
	}
	fi, err := os.Lstat(src)
	if err == nil && !c.opts.Recursive {
		fi, err = os.Stat(src)
	}
	if err == nil && fi.Mode().IsRegular() {
		var f *os.File
		if f, err = os.Open(src); err == nil {
			f.Close()
		}
	}
	switch {
	case err != nil:
		return about(src, err)
	case fi.IsDir() && !c.opts.Recursive:
		return isDir(src)
	}
	return nil
}

func isDir(src string) error { return errs.New(errs.ErrUsage, "%q is a directory", src) }

// top sends a path that the caller named: here errors are final.
func (c *creator) top(src string) error {
	name := BaseName(src)
	if f := descriptor(src); f != nil {
		defer f.Close()
		if fi, err := f.Stat(); err != nil || !fi.IsDir() {
			return c.report(c.flow(f, name))
		}
	}
	stat := os.Lstat
	if !c.opts.Recursive || name == Contents || strings.HasSuffix(src, "/") {
		stat = os.Stat
	}
	fi, err := stat(src)
	switch {
	case err != nil:
		return about(src, err)
	case fi.IsDir():
		if !c.opts.Recursive {
			return isDir(src)
		}
		root, err := os.OpenRoot(src)
		if err != nil {
			return about(src, err)
		}
		defer root.Close()
		return c.report(c.dir(root, fi, name, 1))
	case name == Contents || strings.HasSuffix(src, "/"):
		return about(src, syscall.ENOTDIR)
	case fi.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(src)
		if err != nil {
			return about(src, err)
		}
		return c.symlink(fi, name, target)
	case fi.Mode().IsRegular():
		f, err := os.OpenFile(src, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			return about(src, err)
		}
		defer f.Close()
		return c.report(c.file(f, name))
	case fi.Mode()&fs.ModeSocket == 0 && !c.opts.Plain: // a tar says lengths first
		f, err := os.Open(src)
		if err != nil {
			return about(src, err)
		}
		defer f.Close()
		return c.report(c.flow(f, name))
	}
	return fmt.Errorf("%q is %s, which cannot be copied", src, describe(fi.Mode()))
}

// dir sends a directory and what is in it. Its names are read a few thousand at a time and sorted among these: enough
// for the same order every time in a common one, and no memory for a huge one.
func (c *creator) dir(root *os.Root, fi fs.FileInfo, name string, depth int) error {
	f, openErr := root.Open(".")
	h := dirHeader(fi, name)
	if openErr == nil {
		defer f.Close()
		c.attributes(h, f)
	}
	if err := c.write(h); err != nil {
		return err
	}
	if openErr != nil {
		return about(name, openErr)
	}
	for {
		names, err := f.Readdirnames(4096)
		slices.Sort(names)
		for _, n := range names {
			if err := c.report(c.entry(root, fi, n, name+"/"+n, depth)); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		} else if err != nil {
			return about(name, err)
		}
	}
}

// entry sends what is called n in dir, whose FileInfo is parent.
func (c *creator) entry(dir *os.Root, parent fs.FileInfo, n, name string, depth int) error {
	fi, err := dir.Lstat(n)
	switch {
	case os.IsNotExist(err): // removed since
		return nil
	case err != nil:
		return about(name, err)
	case len(name) > maxName:
		return fmt.Errorf("%q: name too long", name)
	case fi.Mode()&fs.ModeSymlink != 0:
		target, err := dir.Readlink(n)
		if err != nil {
			return about(name, err)
		}
		return c.symlink(fi, name, target)
	case fi.IsDir() && depth == maxDepth:
		return fmt.Errorf("%q: more than %d directories deep", name, maxDepth)
	case fi.IsDir():
		sub, err := dir.OpenRoot(n)
		if err != nil {
			return about(name, err)
		}
		defer sub.Close()
		if now, err := sub.Stat("."); err != nil || !os.SameFile(fi, now) { // replaced by a link meanwhile
			return changed(name)
		}
		if device(fi) != device(parent) && kernelMount(sub) {
			c.leaveOut(name)
			return c.write(dirHeader(fi, name))
		}
		return c.dir(sub, fi, name, depth+1)
	case fi.Mode().IsRegular():
		// O_NONBLOCK: should it have become a FIFO meanwhile, this does not wait for a writer.
		f, err := dir.OpenFile(n, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			return about(name, err)
		}
		defer f.Close()
		if now, err := f.Stat(); err != nil || !os.SameFile(fi, now) {
			return changed(name)
		}
		return c.file(f, name)
	}
	return fmt.Errorf("%q is %s: skipped", name, describe(fi.Mode()))
}

func (c *creator) symlink(fi fs.FileInfo, name, target string) error {
	h := header(fi, name)
	h.Typeflag, h.Linkname = tar.TypeSymlink, target
	return c.write(h)
}

func (c *creator) write(h *tar.Header) error {
	err := c.tw.WriteHeader(h)
	if err == nil {
		c.stats.Entries++
	}
	return err
}

// header is what all kinds of entries have in common. PAX alone has nanoseconds, and names of any length and bytes.
func header(fi fs.FileInfo, name string) *tar.Header {
	st := fi.Sys().(*syscall.Stat_t)
	mode := int64(fi.Mode().Perm())
	for _, bit := range specialBits {
		if fi.Mode()&bit.mode != 0 {
			mode |= bit.tar
		}
	}
	return &tar.Header{
		Format: tar.FormatPAX, Name: filepath.ToSlash(name), Mode: mode, Uid: int(st.Uid), Gid: int(st.Gid),
		ModTime: time.Unix(st.Mtim.Unix()),
	}
}

func dirHeader(fi fs.FileInfo, name string) *tar.Header {
	h := header(fi, name+"/")
	h.Typeflag = tar.TypeDir
	return h
}

var specialBits = []struct {
	mode fs.FileMode
	tar  int64
}{{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000}}
