package vm

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"noid/internal/checkpoint"
	"noid/internal/image/store"
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
