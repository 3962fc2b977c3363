package vm

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"noid/internal/checkpoint"
	"noid/internal/errs"
	"noid/internal/image"
	images "noid/internal/image/source"
	"noid/internal/image/store"
	"noid/internal/storage"
)

// Images are the images of the home. Whoever changes them holds a lock of the home: a VM's, or that of ChangeImages.
func (m *Manager) Images() *store.Store {
	s := store.New(m.Home.ImagesDir())
	s.Options.Mirror = m.Config.RegistryMirror
	return s
}

// ChangeImages has change get or remove images. Nobody moves the home's storage meanwhile.
func (m *Manager) ChangeImages(ctx context.Context, verb string, change func(*store.Store) error) error {
	if err := m.Home.Make(); err != nil {
		return err
	}
	if err := m.beginFilling(ctx, verb); err != nil {
		return err
	}
	lock, err := m.Home.LockShared(ctx)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	s := m.Images()
	s.Sweep()
	defer m.dropTemplatesOfNone()
	return change(s)
}

// ObtainImage returns the image ref and the path of its base. One that is not here is pulled; progress is kept of that.
func (m *Manager) ObtainImage(ctx context.Context, verb, ref string, progress *images.Progress) (*image.Image, string, error) {
	if !images.IsFile(ref) { // a file may have changed
		img, err := m.Images().Find(ref)
		if err == nil {
			_, base, err := m.Images().Get(ctx, img.Digest, store.Never)
			return &img, base, err
		} else if !errors.Is(err, errs.ErrNotFound) {
			return nil, "", err
		}
	}
	var img image.Image
	var base string
	err := m.ChangeImages(ctx, verb, func(s *store.Store) (err error) {
		s.Options.Progress = progress
		img, base, err = s.Get(ctx, ref, store.Missing)
		return err
	})
	return &img, base, err
}

// SaveImages writes images as one archive into the file path, or to w where path is empty. Should it fail, a file that
// was there is what it was. What is there and is no regular file, such as a pipe, is written to. Errors are those of
// store.Save.
func (m *Manager) SaveImages(ctx context.Context, refs []string, format store.Format, path string, w io.Writer) error {
	save := func(w io.Writer) error { return m.Images().Save(ctx, w, refs, format) }
	if path == "" {
		return save(w)
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		return errors.Join(save(f), f.Close())
	}
	return storage.WriteNew(path, 0o600, func(f *os.File) error { return save(f) })
}

// dropTemplatesOfNone removes the templates of images that are gone: they hold their bases.
func (m *Manager) dropTemplatesOfNone() {
	for _, key := range m.Home.Templates() {
		c, err := checkpoint.ReadAny(m.Home.TemplateDir(key))
		if err != nil || c.SourceBase == "" {
			continue
		}
		if _, err := os.Lstat(c.SourceBase); errors.Is(err, fs.ErrNotExist) {
			m.Home.RemoveTemplate(key)
		}
	}
}
