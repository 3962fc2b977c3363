package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"noid/internal/errs"
	"noid/internal/image"
	"noid/internal/image/base"
	"noid/internal/image/flatten"
	"noid/internal/image/source"
	"noid/internal/manifest"
	"noid/internal/storage"
)

// ensure builds the image unless it is there. Of several processes, one builds it, and the others wait.
func (s *Store) ensure(ctx context.Context, src *source.Image) error {
	dir := s.imageDir(src.Digest)
	staged := filepath.Join(s.dir, newPrefix+filepath.Base(dir))
	for {
		if _, err := os.Lstat(dir); err == nil {
			return nil
		}
		if err := os.Mkdir(staged, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		lock, err := storage.LockPath(ctx, staged, os.O_RDONLY)
		if errors.Is(err, fs.ErrNotExist) {
			continue // who had the lock has published it, or has failed
		} else if err != nil {
			return err
		}
		defer storage.Unlock(lock)
		if _, err := os.Lstat(dir); err == nil { // published between the look at it and Mkdir
			return storage.RemoveAll(staged)
		}
		err = s.fill(ctx, staged, src)
		if err == nil {
			err = storage.Publish(ctx, staged, dir)
		}
		if err != nil {
			storage.RemoveAll(staged)
			if errors.Is(err, errs.ErrExists) {
				err = nil
			}
		}
		return err
	}
}

// fill builds the image in the directory dir, where a killed builder may have left something.
func (s *Store) fill(ctx context.Context, dir string, src *source.Image) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := storage.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	img := image.Image{Digest: src.Digest, Config: src.Config, Built: time.Now().UTC().Truncate(time.Second)}
	for _, l := range src.Layers {
		if l.Digest != "" {
			img.Layers = append(img.Layers, l.Digest)
		}
	}
	if _, err := manifest.Encode(record{format, img}); err != nil { // before anything is downloaded
		return fmt.Errorf("its configuration: %w", err)
	}
	path := filepath.Join(dir, image.BaseFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := src.Keep(ctx, s.Options.LayersDir, false); err != nil {
		return err
	}
	if err := src.Complete(); err != nil {
		return err
	}
	layers := make([]flatten.Layer, len(src.Layers))
	for i, l := range src.Layers {
		layers[i] = l
	}
	stats, err := s.build(ctx, f, layers, base.Options{Digest: src.Digest})
	if err == nil {
		err = verify(src)
	}
	if err != nil {
		return err
	}
	if _, _, err := storage.Finish(ctx, path); err != nil {
		return err
	}
	img.Size, img.Layers = stats.Size, nil
	for _, l := range src.Layers { // each has a digest now
		img.Layers = append(img.Layers, l.Digest)
	}
	data, err := manifest.Encode(record{format, img})
	if err != nil {
		return err
	}
	for name, data := range map[string][]byte{recordFile: data, manifestFile: src.Manifest, configFile: src.ConfigFile} {
		if err := storage.WriteFile(filepath.Join(dir, name), data, 0o400); err != nil {
			return err
		}
	}
	return nil
}

// verify refuses a layer of which the build has left something unread: nothing tells what it is.
func verify(src *source.Image) error {
	for i, l := range src.Layers {
		if !l.Verified() {
			return fmt.Errorf("layer %d of %d could not be checked", i+1, len(src.Layers))
		}
	}
	return nil
}
