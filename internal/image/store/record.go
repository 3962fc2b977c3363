package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"noid/internal/errs"
	"noid/internal/image"
	"noid/internal/manifest"
	"noid/internal/storage"
)

// format is the version of image.json and refs.json.
const format = 1

// record is image.json. The names are in refs.json alone.
type record struct {
	Format int `json:"format"`
	image.Image
}

// refsRecord is refs.json.
type refsRecord struct {
	Format int               `json:"format"`
	Refs   map[string]string `json:"refs"` // digest by name
}

// read reads the record of the image of that digest. fs.ErrNotExist is an image that is not there.
func (s *Store) read(digest string, refs map[string]string) (image.Image, error) {
	dir := s.imageDir(digest)
	var r record
	err := readRecord(filepath.Join(dir, recordFile), &r, &r.Format)
	if err == nil && r.Digest != digest {
		err = fmt.Errorf("its digest is %.80q", r.Digest)
	}
	if err == nil {
		_, err = os.Lstat(filepath.Join(dir, image.BaseFile))
	}
	if err != nil {
		err = manifest.Broken(err, dir, recordFile)
		if !errors.Is(err, fs.ErrNotExist) {
			err = errs.WithHint(err, cmp.Or(errs.Hint(err), "noid image rm "+digest+"; its vms are not touched"))
		}
		return image.Image{}, err
	}
	r.Refs = nil
	for name, of := range refs {
		if of == digest {
			r.Refs = append(r.Refs, name)
		}
	}
	slices.Sort(r.Refs)
	return r.Image, nil
}

// readRecord reads JSON, whose field at version becomes the format's number.
func readRecord(path string, to any, version *int) error {
	data, _, err := manifest.Read(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, to); err != nil {
		return err
	}
	if *version > format {
		return errs.New(errs.ErrHost, "a newer noid wrote it: its format is %d, this noid knows %d", *version, format).Hint("upgrade noid")
	} else if *version < 1 {
		return errors.New("it has no format number")
	}
	return nil
}

// readRefs reads which name is which image.
func (s *Store) readRefs() (map[string]string, error) {
	path := filepath.Join(s.dir, refsFile)
	r := refsRecord{}
	err := readRecord(path, &r, &r.Format)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]string{}, nil
	} else if err != nil {
		return nil, errs.WithHint(fmt.Errorf("reading %s: %w", path, err), cmp.Or(errs.Hint(err), "remove it: images stay, but lose their names"))
	}
	if r.Refs == nil {
		r.Refs = map[string]string{}
	}
	return r.Refs, nil
}

// changeRefs has change work on the names, and on the images, while nobody else does.
func (s *Store) changeRefs(ctx context.Context, change func(refs map[string]string) error) error {
	lock, err := storage.LockPath(ctx, filepath.Join(s.dir, lockFile), os.O_RDWR|os.O_CREATE)
	if err != nil {
		return fmt.Errorf("locking the images: %w", err)
	}
	defer storage.Unlock(lock)
	path := filepath.Join(s.dir, refsFile)
	refs, err := s.readRefs()
	if err != nil {
		return err
	}
	before := maps.Clone(refs)
	if err := change(refs); err != nil || maps.Equal(refs, before) { // a full disk can hold no new file
		return err
	}
	data, err := manifest.Encode(refsRecord{format, refs})
	if err != nil {
		return err
	}
	return storage.WriteFile(path, data, 0o600)
}

// setRef gives the image of that digest a name, and reports whether the image is there.
func (s *Store) setRef(ctx context.Context, name, digest string) (there bool, err error) {
	err = s.changeRefs(ctx, func(refs map[string]string) error {
		_, err := os.Lstat(s.imageDir(digest))
		if there = err == nil; there {
			refs[name] = digest
		}
		return nil
	})
	return there, err
}
