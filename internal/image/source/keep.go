package source

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"noid/internal/storage"
)

// Keep has the layers in dir, each under the name of its digest, and locks them there: until Close nobody removes them.
// One that is not there is copied, and from then on read there. Without downloads those of a registry are left alone,
// which are there when they have been read.
func (i *Image) Keep(ctx context.Context, dir string, downloads bool) error {
	for _, l := range i.Layers {
		if l.download && !downloads {
			continue
		}
		if err := l.keep(ctx, dir); err != nil {
			return fmt.Errorf("keeping layer %s: %w", l.name(), err)
		}
	}
	return nil
}

// keep has the layer in dir. One that nobody has given a digest is kept as the archive that it is.
func (l *Layer) keep(ctx context.Context, dir string) error {
	plain := l.Digest == ""
	if plain {
		l.Digest, l.Size = l.DiffID, -1
	}
	path := filepath.Join(dir, LayerFile(l.Digest))
	err := l.hold(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if l.Size > 0 {
		if err := checkRoom(ctx, dir, l.Size); err != nil {
			return err
		}
	}
	if l.download { // its cache keeps it as it comes
		if err := l.Copy(ctx, io.Discard); err != nil {
			return err
		}
		return l.hold(path)
	}
	err = storage.WriteOnce(path, 0o400, func(f *os.File) error { return l.write(ctx, f, plain) })
	return cmp.Or(err, l.hold(path))
}

// hold opens and locks the layer at path, which is then read there. fs.ErrNotExist is that there is none.
func (l *Layer) hold(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err = unix.Flock(int(f.Fd()), unix.LOCK_SH); err == nil { // who has it downloads it, or removes it
		err = unix.Fstat(int(f.Fd()), &st)
	}
	if err == nil && st.Nlink > 0 && l.Size >= 0 && st.Size != l.Size {
		err = os.Remove(path)
		st.Nlink = 0
	}
	if err == nil && st.Nlink == 0 {
		err = &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	if err != nil {
		f.Close()
		return err
	}
	l.holdFile(f, path, st.Size)
	return nil
}

// holdFile has the layer read in f, the locked file at path, which has size bytes.
func (l *Layer) holdFile(f *os.File, path string, size int64) {
	if l.held != nil {
		l.held.Close()
	}
	l.held, l.Size = f, size
	l.raw = func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(f, 0, size)), nil
	}
	l.damaged = func() { os.Remove(path) }
}

// Kept is the layer in f, the locked file at path, which has size bytes. The image of it closes the file.
func Kept(f *os.File, path, digest, diffID string, size int64) *Layer {
	l := &Layer{Digest: digest, DiffID: diffID}
	l.holdFile(f, path, size)
	return l
}

// Copy writes the bytes that have the layer's digest, and checks them.
func (l *Layer) Copy(ctx context.Context, w io.Writer) error {
	h, err := newHash(l.Digest)
	if err != nil {
		return err
	}
	r, err := l.raw(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := io.Copy(io.MultiWriter(w, h), &contextReader{ctx, r}); err != nil {
		return err
	}
	if err := checkSum(h, l.Digest); err != nil {
		if l.damaged != nil {
			l.damaged()
		}
		return err
	}
	return nil
}

// write writes the layer into f: unpacked, if it has no digest of its own. Long runs of zeros become holes.
func (l *Layer) write(ctx context.Context, f *os.File, plain bool) error {
	w := &holeWriter{f: f}
	var err error
	if !plain {
		err = l.Copy(ctx, w)
	} else {
		var r io.ReadCloser
		if r, err = l.Open(ctx); err != nil {
			return err
		}
		_, err = io.Copy(w, r)
		err = cmp.Or(err, r.Close())
		if err == nil && !l.verified {
			err = errors.New("it could not be checked")
		}
	}
	return cmp.Or(err, f.Truncate(w.n))
}

// holeWriter leaves out what is zero.
type holeWriter struct {
	f *os.File
	n int64
}

func (w *holeWriter) Write(p []byte) (int, error) {
	if len(p) >= 4096 && bytes.Count(p, []byte{0}) == len(p) {
		w.n += int64(len(p))
		return len(p), nil
	}
	n, err := w.f.WriteAt(p, w.n)
	w.n += int64(n)
	return n, err
}

// OpenKept is the image whose manifest and configuration these are, and whose layers are kept in o.LayersDir. A layer
// that is not there any more is fs.ErrNotExist.
func OpenKept(ctx context.Context, manifest, config []byte, o Options) (*Image, error) {
	h, err := v1.NewHash(digestOf(manifest))
	if err != nil {
		return nil, err
	}
	img, err := readImage(ctx, keptFiles{config}, v1.Descriptor{Digest: h, Size: int64(len(manifest))}, manifest, o)
	if err != nil {
		return nil, err
	}
	for _, l := range img.Layers {
		if err := l.hold(filepath.Join(o.LayersDir, LayerFile(l.Digest))); err != nil {
			img.Close()
			return nil, fmt.Errorf("layer %s: %w", l.name(), err)
		}
	}
	return img, nil
}

// keptFiles is a store that has one configuration. Who asks for layers opens them.
type keptFiles struct{ config []byte }

func (k keptFiles) small(_ context.Context, d v1.Descriptor, max int64) ([]byte, error) {
	return readAll(bytes.NewReader(k.config), d.Digest.String(), max)
}

func (k keptFiles) layer(d v1.Descriptor, diffID string) *Layer {
	return &Layer{Digest: d.Digest.String(), DiffID: diffID, Size: d.Size}
}
