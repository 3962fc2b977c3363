package store

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"noid/internal/errs"
	"noid/internal/image"
	"noid/internal/image/source"
)

// Format is how Save packs images.
type Format string

// The formats: what skopeo calls oci-archive and docker-archive.
const (
	FormatOCI    Format = "oci"
	FormatDocker Format = "docker"
)

// Formats are all of them.
var Formats = []Format{FormatOCI, FormatDocker}

// Save writes images as one archive: manifests, configurations and layers byte by byte. A layer that is not kept any
// more is errs.ErrNotFound, before anything is written.
func (s *Store) Save(ctx context.Context, w io.Writer, refs []string, format Format) error {
	a := &archive{ctx: ctx, tar: tar.NewWriter(w), written: map[string]bool{}}
	defer a.close()
	for _, ref := range refs {
		img, err := s.Find(ref)
		if err != nil {
			return err
		}
		if ref, err = source.Canonical(ref); err != nil || !slices.Contains(img.Refs, ref) {
			ref = ""
		}
		kept, err := s.kept(ctx, img)
		if err != nil {
			return err
		}
		m, err := v1.ParseManifest(bytes.NewReader(kept.Manifest))
		a.images, a.parsed, a.refs = append(a.images, kept), append(a.parsed, m), append(a.refs, ref)
		if err != nil {
			return err
		}
	}
	write := a.oci
	if format == FormatDocker {
		write = a.docker
	}
	if err := write(); err != nil {
		return err
	}
	return a.tar.Close()
}

// kept opens an image as its source was, with the layers that are kept.
func (s *Store) kept(ctx context.Context, img image.Image) (*source.Image, error) {
	dir := s.imageDir(img.Digest)
	manifest, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if err != nil && errors.Is(err, fs.ErrNotExist) { // an older noid has made it
		return nil, errs.New(errs.ErrNotFound, "the manifest of image %s is not kept", img.Digest).Hint("'noid image rm " + img.Digest[:19] + "', and get it again")
	}
	var config []byte
	if err == nil {
		config, err = os.ReadFile(filepath.Join(dir, configFile))
	}
	if err != nil {
		return nil, err
	}
	src, err := source.OpenKept(ctx, manifest, config, s.Options)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errs.New(errs.ErrNotFound, "image %s: a layer is not kept any more: %w", img.Digest, err).Hint(again(img))
	} else if err != nil {
		return nil, fmt.Errorf("image %s: %w", img.Digest, err)
	}
	return src, nil
}

// again is the cure for an image, or a part of one, that is gone.
func again(img image.Image) string {
	ref := "NAME"
	if len(img.Refs) > 0 {
		ref = img.Refs[0]
	}
	return "'noid image pull " + ref + "' gets it again, if it is still the same there"
}

// archive is what Save writes.
type archive struct {
	ctx     context.Context
	tar     *tar.Writer
	images  []*source.Image
	parsed  []*v1.Manifest  // of images
	refs    []string        // of images; "" is none
	written map[string]bool // digests
}

func (a *archive) close() {
	for _, img := range a.images {
		img.Close()
	}
}

// oci writes OCI's image layout.
func (a *archive) oci() error {
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{}}
	for i, img := range a.images {
		digest, err := v1.NewHash(img.Digest)
		if err != nil {
			return err
		}
		d := v1.Descriptor{MediaType: a.parsed[i].MediaType, Digest: digest, Size: int64(len(img.Manifest))}
		if d.MediaType == "" { // OCI's may be left out
			d.MediaType = types.OCIManifestSchema1
		}
		if r, err := name.ParseReference(a.refs[i]); err == nil {
			d.Annotations = map[string]string{"io.containerd.image.name": r.Name(), "org.opencontainers.image.ref.name": r.Identifier()}
		}
		index.Manifests = append(index.Manifests, d)
	}
	if err := a.json("oci-layout", map[string]string{"imageLayoutVersion": "1.0.0"}); err != nil {
		return err
	}
	if err := a.json("index.json", index); err != nil {
		return err
	}
	for _, img := range a.images {
		if err := a.bytes(blob(img.Digest), img.Manifest); err != nil {
			return err
		}
	}
	return a.blobs()
}

// docker writes what 'docker save' did before it wrote OCI's layout too.
func (a *archive) docker() error {
	type entry struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	var list []entry
	for i, img := range a.images {
		e := entry{Config: blob(a.parsed[i].Config.Digest.String())}
		if _, err := name.NewTag(a.refs[i]); err == nil {
			e.RepoTags = []string{a.refs[i]}
		}
		for _, l := range img.Layers {
			e.Layers = append(e.Layers, blob(l.Digest))
		}
		list = append(list, e)
	}
	if err := a.json("manifest.json", list); err != nil {
		return err
	}
	return a.blobs()
}

// blobs writes configurations and layers, each once.
func (a *archive) blobs() error {
	for i, img := range a.images {
		if err := a.bytes(blob(a.parsed[i].Config.Digest.String()), img.ConfigFile); err != nil {
			return err
		}
	}
	for _, img := range a.images {
		for _, l := range img.Layers {
			if fresh, err := a.header(blob(l.Digest), l.Size); err != nil {
				return err
			} else if !fresh {
				continue
			}
			if err := l.Copy(a.ctx, a.tar); err != nil {
				return fmt.Errorf("layer %s: %w", l.Digest, err)
			}
		}
	}
	return nil
}

// blob is the path of what has that digest.
func blob(digest string) string { return "blobs/" + strings.Replace(digest, ":", "/", 1) }

func (a *archive) json(path string, doc any) error {
	data, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	return a.bytes(path, data)
}

func (a *archive) bytes(path string, data []byte) error {
	fresh, err := a.header(path, int64(len(data)))
	if err == nil && fresh {
		_, err = a.tar.Write(data)
	}
	return err
}

// header begins a file, and reports whether it is not there yet. All have the same time, so the same images give the
// same archive.
func (a *archive) header(path string, size int64) (fresh bool, err error) {
	if a.written[path] {
		return false, nil
	}
	a.written[path] = true
	return true, a.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path, Size: size, Mode: 0o444})
}
