package store

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"noid/internal/errs"
	"noid/internal/image/source"
	"noid/internal/storage"
)

// Remove removes the name ref; the image too, with the layers that no other needs, if it was its last. A digest, or the
// beginning of one, removes the image with all its names. VMs made of it stay.
func (s *Store) Remove(ctx context.Context, ref string) error {
	var layers []string // by their files' names
	err := s.changeRefs(ctx, func(refs map[string]string) error {
		digest := ""
		if name, err := source.Canonical(ref); err == nil && refs[name] != "" && !isDigest(ref) {
			digest = refs[name]
			delete(refs, name)
			for _, of := range refs {
				if of == digest {
					return nil // it has another name
				}
			}
		} else if found := s.match(ref); len(found) == 1 { // a broken one too
			digest = found[0]
		} else {
			_, err := s.Find(ref)
			return err
		}
		for name, of := range refs {
			if of == digest {
				delete(refs, name)
			}
		}
		img, _ := s.read(digest, nil) // of a broken one the layers stay until Prune
		for _, layer := range img.Layers {
			layers = append(layers, source.LayerFile(layer))
		}
		return s.discard(digest)
	})
	if err != nil {
		return err
	}
	_, err = s.dropLayers(layers)
	return err
}

// Pruned is what Prune has removed.
type Pruned struct {
	Images []string // digests
	Layers int
	Bytes  int64 // of the disk; VMs may keep what an image had
}

// Prune removes the images without a name, the layers that no image needs, and downloads that nobody goes on with.
func (s *Store) Prune(ctx context.Context) (p Pruned, err error) {
	before := s.occupied(ctx)
	err = s.changeRefs(ctx, func(refs map[string]string) error {
		named := map[string]bool{}
		for _, digest := range refs {
			named[digest] = true
		}
		for _, digest := range s.digests() {
			if named[digest] {
				continue
			}
			if err := s.discard(digest); err != nil {
				return err
			}
			p.Images = append(p.Images, digest)
		}
		for name, digest := range refs {
			if _, err := os.Lstat(s.imageDir(digest)); os.IsNotExist(err) {
				delete(refs, name)
			}
		}
		return nil
	})
	entries, _ := os.ReadDir(filepath.Join(s.dir, layersDir)) // no directory is no layer
	var layers []string
	for _, e := range entries {
		layers = append(layers, e.Name())
	}
	var err2 error
	p.Layers, err2 = s.dropLayers(layers)
	p.Bytes = max(0, before-s.occupied(ctx))
	return p, errs.Join(err, err2)
}

// occupied is what the store has of the disk that nothing else has.
func (s *Store) occupied(ctx context.Context) int64 {
	o, _ := storage.Occupy(ctx, s.dir, nil) // what cannot be looked at is left out
	return o.Own()
}

// discard removes the image of that digest: it is gone at once, or not at all.
func (s *Store) discard(digest string) error {
	dir := s.imageDir(digest)
	old := filepath.Join(s.dir, oldPrefix+filepath.Base(dir)+"-"+rand.Text())
	if err := os.Rename(dir, old); err != nil {
		return err
	}
	return storage.RemoveAll(old)
}

// dropLayers removes those of the layers, by their files' names, that no image has and nobody is downloading, and
// returns how many. An image that cannot be read needs none, as none that is built does: a pull may download it again.
// Who builds an image of a layer has it open.
func (s *Store) dropLayers(layers []string) (dropped int, err error) {
	needed := map[string]bool{}
	for _, digest := range s.digests() {
		img, _ := s.read(digest, nil)
		for _, layer := range img.Layers {
			needed[source.LayerFile(layer)] = true
		}
	}
	for _, name := range layers {
		if needed[name] {
			continue
		}
		if err := removeFree(filepath.Join(s.dir, layersDir, name)); err == nil {
			dropped++
		} else if !errors.Is(err, errs.ErrBusy) {
			return dropped, err
		}
	}
	return dropped, nil
}

// Sweep removes what killed commands have left, but for downloads, which go on. What it cannot remove, the next one
// tries again.
func (s *Store) Sweep() {
	if lock, err := storage.TryLockPath(filepath.Join(s.dir, lockFile), os.O_RDWR); err == nil {
		storage.RemoveTemp(filepath.Join(s.dir, refsFile))
		storage.Unlock(lock)
	}
	entries, _ := os.ReadDir(s.dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), newPrefix) || strings.HasPrefix(e.Name(), oldPrefix) {
			removeFree(filepath.Join(s.dir, e.Name()))
		}
	}
}

// removeFree removes the file or directory path, unless somebody has it locked: errs.ErrBusy.
func removeFree(path string) error {
	lock, err := storage.TryLockPath(path, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	defer storage.Unlock(lock)
	return storage.RemoveAll(path)
}
