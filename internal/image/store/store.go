// Package store keeps the images of a home: each is built once, whoever asks for it. Nothing that a killed builder
// leaves is in the way of the next.
package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"noid/internal/errs"
	"noid/internal/image"
	"noid/internal/image/base"
	"noid/internal/image/flatten"
	"noid/internal/image/source"
)

// Names in a store. Any other file is not its own: 'noid setup' keeps root file systems there.
const (
	recordFile   = "image.json"    // beside BaseFile, in a directory that is named by the image's digest
	manifestFile = "manifest.json" // the image's, byte by byte: its digest is the image's, unless noid has made it
	configFile   = "config.json"   // the same of its configuration
	refsFile     = "refs.json"     // which name is which image
	lockFile     = "refs.lock"     // held to change refsFile, and to remove images
	layersDir    = "layers"        // the layers of the images, by their digests; a VM needs none
	newPrefix    = ".new-"         // begins the directory in which an image is built, whose lock its builder holds
	oldPrefix    = ".old-"         // begins the directory of an image that is being removed
)

// Policy is when Get asks for an image at its source.
type Policy string

// The policies, as docker calls them.
const (
	Missing Policy = "missing" // if no image of that name is there. Files and directories are always looked at
	Always  Policy = "always"
	Never   Policy = "never"
)

// Store is the images in a directory, which several processes may use. Every image there is complete. VMs have hard
// links to bases, so an image may be removed at any time.
type Store struct {
	dir   string
	build func(context.Context, *os.File, []flatten.Layer, base.Options) (base.Stats, error)

	// Options are how to get at sources. LayersDir is the store's.
	Options source.Options
}

// New returns the store in dir, which is made when it is needed.
func New(dir string) *Store {
	return &Store{dir: dir, build: base.Build, Options: source.Options{LayersDir: filepath.Join(dir, layersDir)}}
}

// Get returns the image ref and the absolute path of its base. It downloads and builds it as the policy says. An image
// that another process builds is waited for. errs.ErrNotFound is one that is not there, errs.ErrUsage a ref that is none.
func (s *Store) Get(ctx context.Context, ref string, p Policy) (image.Image, string, error) {
	img, err := s.get(ctx, ref, p)
	if err != nil {
		return image.Image{}, "", err
	}
	path, err := filepath.Abs(filepath.Join(s.imageDir(img.Digest), image.BaseFile))
	return img, path, err
}

func (s *Store) get(ctx context.Context, ref string, p Policy) (image.Image, error) {
	if isDigest(ref) {
		return s.Find(ref)
	}
	name, err := source.Canonical(ref)
	if err != nil {
		return image.Image{}, err
	}
	if p == Never || p == Missing && !source.IsFile(name) {
		img, err := s.Find(name)
		if err == nil || p == Never || !errors.Is(err, errs.ErrNotFound) {
			return img, err
		}
	}
	return s.Import(ctx, name, name)
}

// Import gets the image from its source, whatever is there, and gives it a name. Only its source may be one that says
// what is in it: a digest, a file or a program.
func (s *Store) Import(ctx context.Context, from, name string) (image.Image, error) {
	if kind, _ := source.Split(name); from != name && (kind != "" || isDigest(name) || strings.Contains(name, "@")) {
		return image.Image{}, errs.New(errs.ErrUsage, "%q says what is in it: it cannot be a new name", name).Hint("write NAME[:TAG], such as mine:1")
	}
	asName := from == name && !isDigest(from) && !strings.Contains(from, "@") // the beginning of a digest it may be, too
	name, err := source.Canonical(name)
	if err != nil {
		return image.Image{}, err
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return image.Image{}, err
	}
	s.Sweep()
	if kind, _ := source.Split(from); kind == "" && !asName { // it may be here by another name
		if img, err := s.Find(from); err == nil && !slices.Contains(img.Refs, name) {
			if named, err := s.setRef(ctx, name, img.Digest); named || err != nil {
				img.Refs = append(img.Refs, name)
				return img, err
			}
		}
	}
	src, err := source.Open(ctx, from, s.Options)
	if err != nil {
		return image.Image{}, err
	}
	defer src.Close()
	return s.take(ctx, src, name, from)
}

// take builds the image of src, called from, unless it is there, and gives it a name.
func (s *Store) take(ctx context.Context, src *source.Image, name, from string) (image.Image, error) {
	for {
		if err := s.ensure(ctx, src); err != nil {
			return image.Image{}, fmt.Errorf("image %q: %w", from, err)
		}
		if err := src.Keep(ctx, s.Options.LayersDir, true); err != nil {
			return image.Image{}, fmt.Errorf("image %q: %w", from, err)
		}
		named, err := s.setRef(ctx, name, src.Digest)
		if err != nil {
			return image.Image{}, err
		}
		if named {
			return s.Find(name)
		}
		// It was removed in between: once more.
	}
}

// Find returns the image of a name, of a digest, or of the beginning of a digest's hex digits, three at least.
// errs.ErrNotFound is none, errs.ErrUsage a beginning that several have.
func (s *Store) Find(ref string) (image.Image, error) {
	refs, err := s.readRefs()
	if err != nil {
		return image.Image{}, err
	}
	if name, err := source.Canonical(ref); err == nil && refs[name] != "" && !isDigest(ref) {
		img, err := s.read(refs[name], refs)
		if !errors.Is(err, fs.ErrNotExist) {
			return img, err
		}
	}
	found := s.match(ref)
	switch len(found) {
	case 0:
		return image.Image{}, errs.New(errs.ErrNotFound, "no image %q", ref).Hint("'noid image ls' lists the images, 'noid image pull' gets one")
	case 1:
		return s.read(found[0], refs)
	}
	return image.Image{}, errs.New(errs.ErrUsage, "several images begin with %q: %s", ref, strings.Join(found, ", ")).Hint("give more digits")
}

// Check accepts what Find does, and an image that is broken. Any other is Find's error.
func (s *Store) Check(ref string) error {
	_, err := s.Find(ref)
	if errors.Is(err, errs.ErrNotFound) || errors.Is(err, errs.ErrUsage) {
		return err
	}
	return nil
}

// match returns the digests that begin with text, which may lack "sha256:".
func (s *Store) match(text string) (found []string) {
	hex := strings.TrimPrefix(text, "sha256:")
	if len(hex) < 3 || !isHex(hex) && !isDigest(text) {
		return nil
	}
	for _, digest := range s.digests() {
		if _, all, _ := strings.Cut(digest, ":"); digest == text || strings.HasPrefix(all, hex) {
			found = append(found, digest)
		}
	}
	return found
}

// List returns all images, the newest first. An error is of those that cannot be read: the others are there.
func (s *Store) List() ([]image.Image, error) {
	refs, err := s.readRefs()
	problems := []error{err}
	var all []image.Image
	for _, digest := range s.digests() {
		img, err := s.read(digest, refs)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since
		} else if err != nil {
			problems = append(problems, err)
			continue
		}
		all = append(all, img)
	}
	slices.SortStableFunc(all, func(a, b image.Image) int { return b.Built.Compare(a.Built) })
	return all, errs.Join(problems...)
}

// digests are those of the images, sorted.
func (s *Store) digests() (all []string) {
	entries, _ := os.ReadDir(s.dir) // no directory is no image
	for _, e := range entries {
		if digest := strings.Replace(e.Name(), "-", ":", 1); e.IsDir() && isDigest(digest) {
			all = append(all, digest)
		}
	}
	return all
}

// imageDir is the directory of the image of that digest.
func (s *Store) imageDir(digest string) string {
	return filepath.Join(s.dir, source.LayerFile(digest))
}

// isDigest reports whether s is the whole digest of an image.
func isDigest(s string) bool {
	algorithm, hex, _ := strings.Cut(s, ":")
	return (algorithm == "sha256" && len(hex) == 64 || algorithm == "sha512" && len(hex) == 128) && isHex(hex)
}

func isHex(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }
