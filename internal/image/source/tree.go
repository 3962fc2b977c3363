package source

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
)

// openTar makes an image of a root file system in a tar archive: one layer, without a configuration. It reads the
// archive for its digest.
func openTar(ctx context.Context, name string, _ Options) (*Image, error) {
	f, err := openFile(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	raw := func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(f, 0, info.Size())), nil
	}
	img, err := oneLayer(ctx, info.Size(), raw)
	if err != nil {
		f.Close()
		return nil, err
	}
	img.close = func() { f.Close() }
	return img, nil
}

// maxArchive bounds the archive of a root file system, in bytes, as package flatten does those of an image.
var maxArchive int64 = 256 << 30

// oneLayer is an image of the archive that raw opens.
func oneLayer(ctx context.Context, size int64, raw func(context.Context) (io.ReadCloser, error)) (*Image, error) {
	r, err := raw(ctx)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	z, err := decompress(&contextReader{ctx, r})
	if err != nil {
		return nil, fmt.Errorf("reading the archive: %w", err)
	}
	defer z.Close()
	h := sha256.New()
	if n, err := io.Copy(h, io.LimitReader(z, maxArchive+1)); err != nil {
		return nil, fmt.Errorf("reading the archive: %w", err)
	} else if n > maxArchive {
		return nil, fmt.Errorf("the archive has more than the %d GiB allowed", maxArchive>>30)
	} else if n < 512 {
		return nil, errors.New("it is no tar archive")
	}
	digest := "sha256:" + hex.EncodeToString(h.Sum(nil))
	return &Image{Digest: digest, Layers: []*Layer{{DiffID: digest, Size: size, raw: raw, tree: true}}}, nil
}

// openDir makes an image of a directory with a root file system: one layer, without a configuration. It reads all of it
// for its digest.
func openDir(ctx context.Context, dir string, _ Options) (*Image, error) {
	if info, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, errs.New(errs.ErrNotFound, "no directory %s", dir)
	} else if err != nil {
		return nil, err
	} else if !info.IsDir() {
		return nil, errs.New(errs.ErrUsage, "%s is not a directory", dir).Hint("an archive is tar:FILE, oci-archive:FILE or docker-archive:FILE")
	}
	dir, err := filepath.EvalSymlinks(dir) // else a link to a directory is walked as a link
	if err != nil {
		return nil, err
	}
	return oneLayer(ctx, -1, func(ctx context.Context) (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() {
			t := tar.NewWriter(w)
			err := writeTree(ctx, t, dir)
			if err == nil {
				err = t.Close()
			}
			w.CloseWithError(err)
		}()
		return r, nil
	})
}

// writeTree writes what is below dir into t, as GNU tar --numeric-owner --xattrs --one-file-system does. The order is
// that of the names.
func writeTree(ctx context.Context, t *tar.Writer, dir string) error {
	var top unix.Stat_t
	if err := unix.Stat(dir, &top); err != nil {
		return &fs.PathError{Op: "stat", Path: dir, Err: err}
	}
	links := map[[2]uint64]string{} // the first name of a file with several
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return &fs.PathError{Op: "lstat", Path: path, Err: err}
		}
		h, err := header(path, name, st, links)
		if err != nil || h == nil {
			return err
		}
		err = t.WriteHeader(h)
		switch {
		case err != nil:
		case h.Typeflag == tar.TypeReg:
			err = writeFile(t, path, h.Size)
		case h.Typeflag == tar.TypeDir && st.Dev != top.Dev:
			err = fs.SkipDir // such as /proc
		}
		return err
	})
}

func writeFile(t *tar.Writer, path string, size int64) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if n, err := io.Copy(t, io.LimitReader(f, size)); err != nil {
		return err
	} else if n < size {
		return fmt.Errorf("%s changes while it is read", path)
	}
	return nil
}

// header describes path, nil for a socket.
func header(path, name string, st unix.Stat_t, links map[[2]uint64]string) (*tar.Header, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode()&fs.ModeSocket != 0 {
		return nil, nil
	}
	target := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if target, err = os.Readlink(path); err != nil {
			return nil, err
		}
	}
	h, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return nil, err
	}
	// No user names of this host, and no times that only a look at it changes.
	h.Name, h.Uname, h.Gname, h.Format = name, "", "", tar.FormatPAX
	h.AccessTime, h.ChangeTime = time.Time{}, time.Time{}
	if info.IsDir() {
		h.Name += "/"
	} else if st.Nlink > 1 {
		file := [2]uint64{st.Dev, st.Ino}
		if first, ok := links[file]; ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
			return h, nil
		}
		links[file] = name
	}
	h.PAXRecords, err = xattrs(path)
	return h, err
}

// xattrs are the extended attributes of path, as records of a tar archive.
func xattrs(path string) (map[string]string, error) {
	buf := make([]byte, 64<<10) // the kernel's limit for names and for a value
	n, err := unix.Llistxattr(path, buf)
	if err != nil || n == 0 {
		return nil, ignoreUnsupported(err, path)
	}
	records := map[string]string{}
	value := make([]byte, 64<<10)
	for _, name := range strings.Split(strings.TrimRight(string(buf[:n]), "\x00"), "\x00") {
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return nil, ignoreUnsupported(err, path)
		}
		if strings.Contains(name, "=") { // ends a record's name
			return nil, errs.WithHint(fmt.Errorf("%s: no tar archive can have its attribute %q", path, name), "remove it, with setfattr -x")
		}
		records["SCHILY.xattr."+name] = string(value[:n])
	}
	return records, nil
}

func ignoreUnsupported(err error, path string) error {
	if err == nil || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ENODATA) {
		return nil
	}
	return &fs.PathError{Op: "reading the attributes", Path: path, Err: err}
}
