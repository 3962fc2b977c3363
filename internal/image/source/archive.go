package source

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
	"path"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/storage"
)

// maxEntries is how many files an archive of an image may have: there are a few for each layer.
const maxEntries = 100_000

// files are the files of a layout or an archive, by their slash-separated path.
type files interface {
	// open opens a file and tells its size. fs.ErrNotExist is one that is not there.
	open(name string) (io.ReadCloser, int64, error)
}

// dirFiles are those of a directory. No path leads out of it.
type dirFiles struct{ *os.Root }

func (d dirFiles) open(name string) (io.ReadCloser, int64, error) {
	f, err := d.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", name)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// tarFiles are those of a tar archive that is not compressed.
type tarFiles struct {
	f    *os.File
	at   map[string]span
	link map[string]string // docker save makes links to layers that are the same
}

type span struct{ offset, size int64 }

func (t *tarFiles) open(name string) (io.ReadCloser, int64, error) {
	if to, ok := t.link[name]; ok {
		name = to
	}
	s, ok := t.at[name]
	if !ok {
		return nil, 0, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return io.NopCloser(io.NewSectionReader(t.f, s.offset, s.size)), s.size, nil
}

// indexTar finds the files of the archive f.
func indexTar(ctx context.Context, f *os.File) (*tarFiles, error) {
	t := &tarFiles{f, map[string]span{}, map[string]string{}}
	counter := &positioned{f: f}
	for r, n := tar.NewReader(counter), 0; ; n++ {
		h, err := r.Next()
		if err == io.EOF {
			return t, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading the archive: %w", err)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if n == maxEntries {
			return nil, fmt.Errorf("the archive has more than the %d files allowed", maxEntries)
		}
		name := path.Clean(h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			t.at[name] = span{counter.offset, h.Size}
		case tar.TypeSymlink:
			t.link[name] = path.Join(path.Dir(name), h.Linkname)
		case tar.TypeLink:
			t.link[name] = path.Clean(h.Linkname)
		}
	}
}

// positioned knows the offset in f. package tar seeks over what it skips.
type positioned struct {
	f      *os.File
	offset int64
}

func (p *positioned) Read(b []byte) (int, error) {
	n, err := p.f.Read(b)
	p.offset += int64(n)
	return n, err
}

func (p *positioned) Seek(offset int64, whence int) (int64, error) {
	n, err := p.f.Seek(offset, whence)
	if err == nil {
		p.offset = n
	}
	return n, err
}

// openFile opens a regular file, or a link to one, that the user has named.
func openFile(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errs.New(errs.ErrNotFound, "no file %s", name)
	} else if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errs.New(errs.ErrUsage, "%s is not a regular file", name).Hint("a directory with an index.json is oci:DIR, a root file system is dir:PATH")
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// openArchive reads an archive as docker and skopeo save it, of either kind. It may be compressed.
func openArchive(ctx context.Context, name string, o Options) (*Image, error) {
	f, err := openFile(name)
	if err != nil {
		return nil, err
	}
	return readArchive(ctx, f, o)
}

// readArchive reads the archive f. The image keeps it open; after an error it is closed.
func readArchive(ctx context.Context, f *os.File, o Options) (img *Image, err error) {
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if f, err = unpacked(ctx, f, o); err != nil {
		return nil, err
	}
	t, err := indexTar(ctx, f)
	if err != nil {
		return nil, err
	}
	if _, ok := t.at["index.json"]; ok {
		img, err = readLayout(ctx, t, o)
	} else {
		img, err = readDocker(t, o)
	}
	if err != nil {
		return nil, err
	}
	img.close = func() { f.Close() }
	return img, nil
}

// unpacked is f, or what it has packed in a file without a name: then f is closed. After an error it is f.
func unpacked(ctx context.Context, f *os.File, o Options) (*os.File, error) {
	start := make([]byte, 512)
	n, err := f.ReadAt(start, 0)
	if err != nil && err != io.EOF {
		return f, err
	}
	if n < 512 || string(start[257:262]) == "ustar" {
		return f, nil
	}
	r, err := decompress(f)
	if err != nil {
		return f, err
	}
	defer r.Close()
	out, err := keep(ctx, r, o)
	if err != nil {
		return f, err
	}
	f.Close()
	return out, nil
}

// keep writes r into a file without a name, beside the layers.
func keep(ctx context.Context, r io.Reader, o Options) (*os.File, error) {
	if err := os.MkdirAll(o.LayersDir, 0o700); err != nil {
		return nil, err
	}
	out, err := os.OpenFile(o.LayersDir, os.O_RDWR|unix.O_TMPFILE, 0o600)
	if err != nil {
		if out, err = os.CreateTemp(o.LayersDir, ".tmp-archive-"); err != nil {
			return nil, err
		}
		os.Remove(out.Name())
	}
	free, err := storage.Free(o.LayersDir)
	if err != nil {
		out.Close()
		return nil, err
	}
	free -= free / 8 // what is packed may be of any size: leave others room
	n, err := io.Copy(out, io.LimitReader(&contextReader{ctx, r}, free))
	if err == nil && n == free {
		err = errs.New(errs.ErrHost, "no space: it has more than %d MiB", free>>20).Hint(storage.FullHint)
	}
	if err == nil {
		_, err = out.Seek(0, io.SeekStart)
	}
	if err != nil {
		out.Close()
		return nil, fmt.Errorf("unpacking: %w", err)
	}
	return out, nil
}

// contextReader ends with ctx.
type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r *contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

// openLayout reads a directory in OCI's image layout.
func openLayout(ctx context.Context, dir string, o Options) (*Image, error) {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errs.New(errs.ErrNotFound, "no directory %s", dir)
	} else if err != nil {
		return nil, err
	}
	img, err := readLayout(ctx, dirFiles{root}, o)
	if err != nil {
		root.Close()
		return nil, err
	}
	img.close = func() { root.Close() }
	return img, nil
}

// layout is OCI's image layout, as a store.
type layout struct{ files }

// readLayout reads index.json. It must name one image for the platform.
func readLayout(ctx context.Context, f files, o Options) (*Image, error) {
	s := layout{f}
	data, err := s.read("index.json", "", maxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errs.New(errs.ErrUsage, "it has no index.json: it is no OCI image").Hint("a root file system is dir:PATH")
	} else if err != nil {
		return nil, err
	}
	index, err := v1.ParseIndexManifest(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("reading index.json: %w", err)
	}
	d, err := only(index.Manifests, o)
	if err != nil {
		return nil, err
	}
	if data, err = s.small(ctx, d, maxManifest); err != nil {
		return nil, fmt.Errorf("reading the manifest: %w", err)
	}
	return readImage(ctx, s, d, data, o)
}

// only is the one image of a layout for the platform. It may have several names.
func only(list []v1.Descriptor, o Options) (v1.Descriptor, error) {
	seen, platforms := map[v1.Hash]bool{}, false
	list = slices.DeleteFunc(list, func(d v1.Descriptor) bool {
		again := seen[d.Digest] || d.Platform != nil && d.Platform.OS == "unknown"
		seen[d.Digest], platforms = true, platforms || d.Platform != nil
		return again
	})
	if len(list) == 1 {
		return list[0], nil
	}
	if len(list) == 0 || !platforms {
		return v1.Descriptor{}, errs.New(errs.ErrUsage, "it has %d images", len(list)).Hint("save one image alone")
	}
	return pick(list, o)
}

func (s layout) read(name, digest string, max int64) ([]byte, error) {
	r, _, err := s.open(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return readAll(r, digest, max)
}

func (s layout) small(_ context.Context, d v1.Descriptor, max int64) ([]byte, error) {
	return s.read(blobPath(d.Digest), d.Digest.String(), max)
}

func (s layout) layer(d v1.Descriptor, diffID string) *Layer {
	return fileLayer(s, blobPath(d.Digest), d.Digest.String(), diffID, d.Size)
}

// blobPath is where a layout has what a digest names.
func blobPath(h v1.Hash) string { return path.Join("blobs", h.Algorithm, h.Hex) }

// fileLayer is a layer in a file.
func fileLayer(f files, name, digest, diffID string, size int64) *Layer {
	return &Layer{Digest: digest, DiffID: diffID, Size: size, raw: func(context.Context) (io.ReadCloser, error) {
		r, _, err := f.open(name)
		return r, err
	}}
}

// readDocker reads what 'docker save' of before version 25 wrote, and podman writes.
func readDocker(f files, o Options) (*Image, error) {
	s := layout{f}
	data, err := s.read("manifest.json", "", maxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errs.New(errs.ErrUsage, "it has neither index.json nor manifest.json: it is no image").Hint("a root file system is tar:FILE")
	} else if err != nil {
		return nil, err
	}
	var list []struct {
		Config string
		Layers []string
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("reading manifest.json: %w", err)
	}
	if len(list) != 1 {
		return nil, errs.New(errs.ErrUsage, "it has %d images", len(list)).Hint("save one image alone")
	}
	m := list[0]
	if data, err = s.read(path.Clean(m.Config), "", maxConfig); err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	img, diffIDs, err := readConfig(data, o)
	if err != nil {
		return nil, err
	}
	if len(diffIDs) != len(m.Layers) || len(diffIDs) == 0 || len(diffIDs) > maxLayers {
		return nil, fmt.Errorf("it is damaged: %d layers, and digests of %d", len(m.Layers), len(diffIDs))
	}
	var manifest struct{ SchemaVersion json.RawMessage }
	if json.Unmarshal(data, &manifest); manifest.SchemaVersion != nil {
		return nil, errors.New("its configuration is a manifest, too: another image has its digest")
	}
	img.Digest = digestOf(data) // docker calls it so
	for i, name := range m.Layers {
		img.Layers = append(img.Layers, fileLayer(f, path.Clean(name), "", diffIDs[i], -1))
	}
	return img, nil
}
