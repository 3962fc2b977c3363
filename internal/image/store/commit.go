package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/klauspost/compress/gzip"
	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/image"
	"noid/internal/image/flatten"
	"noid/internal/image/source"
	"noid/internal/storage"
)

// Layer is what Commit makes an image of.
type Layer struct {
	Base    *image.Image // the one below; nil for none
	Config  image.Config // the new image's
	Message string
	// Write writes the layer as a tar archive. Nobody trusts what it says.
	Write func(context.Context, io.Writer) error
}

// Commit makes an image of a layer and what is below, and names it. Whatever can be refused before the layer is written
// is: a base that is not there any more is errs.ErrNotFound.
func (s *Store) Commit(ctx context.Context, name string, l Layer) (image.Image, error) {
	if kind, _ := source.Split(name); kind != "" {
		return image.Image{}, errs.New(errs.ErrUsage, "%q is a place of images, not the name of one", name).Hint("write NAME[:TAG]")
	}
	name, err := source.Canonical(name)
	if err != nil {
		return image.Image{}, err
	}
	var base *source.Image
	if l.Base != nil {
		if base, err = s.below(ctx, *l.Base); err != nil {
			return image.Image{}, err
		}
		defer base.Close()
	}
	top, path, err := s.writeLayer(ctx, l.Write)
	if err != nil {
		return image.Image{}, err
	}
	made := v1.History{Created: v1.Time{Time: time.Now().UTC().Truncate(time.Second)}, CreatedBy: "noid commit", Comment: l.Message}
	src, err := source.Compose(base, top, made, l.Config)
	if err != nil {
		return image.Image{}, err
	}
	defer src.Close()
	img, err := s.take(ctx, src, name, name)
	if err != nil && path != "" {
		os.Remove(path)
	}
	return img, err
}

// below opens the image.
func (s *Store) below(ctx context.Context, img image.Image) (*source.Image, error) {
	found, err := s.Find(img.Digest)
	if errors.Is(err, errs.ErrNotFound) {
		return nil, errs.New(errs.ErrNotFound, "the image below is not here any more: %s", img.Digest).Hint(again(img))
	} else if err != nil {
		return nil, err
	}
	return s.kept(ctx, found)
}

// writeLayer keeps what write writes, packed. path is where it is now and was not before.
func (s *Store) writeLayer(ctx context.Context, write func(context.Context, io.Writer) error) (l *source.Layer, path string, err error) {
	if err := os.MkdirAll(s.Options.LayersDir, 0o700); err != nil {
		return nil, "", err
	}
	f, err := storage.LockPath(ctx, filepath.Join(s.dir, newPrefix+"layer-"+rand.Text()), os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return nil, "", err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
			f.Close()
		}
	}()
	packed, plain, err := pack(ctx, f, s.dir, write)
	if err != nil {
		return nil, "", err
	}
	if err := errors.Join(f.Chmod(0o400), storage.Sync(ctx, f)); err != nil {
		return nil, "", err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, "", err
	}
	path = filepath.Join(s.Options.LayersDir, source.LayerFile(packed))
	_, known := os.Lstat(path)
	if err = os.Rename(f.Name(), path); err == nil {
		err = storage.SyncDir(s.Options.LayersDir)
	}
	if err == nil {
		err = unix.Flock(int(f.Fd()), unix.LOCK_SH)
	}
	if err != nil {
		return nil, "", err
	}
	l = source.Kept(f, path, packed, plain, info.Size())
	if known == nil {
		path = ""
	}
	return l, path, nil
}

// pack writes into f, packed by gzip, what write writes, and returns the digests of both.
func pack(ctx context.Context, f *os.File, dir string, write func(context.Context, io.Writer) error) (packed, plain string, err error) {
	free, err := storage.Free(dir)
	if err != nil {
		return "", "", err
	}
	ofPacked, ofPlain := sha256.New(), sha256.New()
	full := errs.New(errs.ErrHost, "no space: the layer has more than %d MiB", (free-free/8)>>20).Hint(storage.FullHint) // leave others room
	z, err := gzip.NewWriterLevel(&bounded{io.MultiWriter(f, ofPacked), free - free/8, full}, gzip.BestSpeed)
	if err != nil {
		return "", "", err
	}
	long := fmt.Errorf("it has more than the %d GiB allowed", flatten.Default.Data>>30)
	err = write(ctx, &bounded{io.MultiWriter(z, ofPlain), flatten.Default.Data, long})
	if err == nil {
		err = z.Close()
	}
	return digest(ofPacked), digest(ofPlain), err
}

func digest(h hash.Hash) string { return fmt.Sprintf("sha256:%x", h.Sum(nil)) }

// bounded is a writer that takes left bytes, and then fails.
type bounded struct {
	w    io.Writer
	left int64
	err  error
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, b.err
	}
	return b.w.Write(p)
}
