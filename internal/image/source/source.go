// Package source finds an image at a registry, in an archive or in a directory: its digest, its configuration and its
// layers. All that it reads is untrusted: its size is bounded, and it is checked by digest.
package source

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"noid/internal/errs"
	"noid/internal/image"
)

// Image is an image at its source. Its layers may not have been fetched. Close it.
type Image struct {
	Digest string // of its manifest for this platform; of its configuration or its content where it has none
	Config image.Config
	Layers []*Layer // the bottom one first
	// Manifest and ConfigFile are the bytes that have the digests of the image and of its configuration; nil where there
	// are none.
	Manifest, ConfigFile []byte

	close func()
}

// Close ends downloads that nobody waits for, and removes temporary files. No layer can be opened any more.
func (i *Image) Close() {
	for _, l := range i.Layers {
		if l.held != nil {
			l.held.Close()
		}
	}
	if i.close != nil {
		i.close()
	}
}

// Options are how to get at an image. The zero value asks registries as this user, for this host's platform.
type Options struct {
	LayersDir string    // keeps downloaded layers; made when it is needed
	Insecure  bool      // allows plain HTTP and unknown certificates
	Mirror    string    // asked before Docker Hub: "[https://]HOST[:PORT]"; http:// allows plain HTTP
	Platform  string    // "linux/arm64"; default that of this host
	Progress  *Progress // counts what is downloaded; may be nil
}

func (o Options) platform() (goos, arch string) {
	goos, arch, ok := strings.Cut(o.Platform, "/")
	if !ok {
		return "linux", runtime.GOARCH
	}
	arch, _, _ = strings.Cut(arch, "/")
	return goos, arch
}

// kinds are the sources that a prefix of the reference names.
var kinds = map[string]func(context.Context, string, Options) (*Image, error){
	"oci":            openLayout,
	"oci-archive":    openArchive,
	"docker-archive": openArchive,
	"dir":            openDir,
	"tar":            openTar,
	"docker-daemon":  openDocker,
	"podman":         openPodman,
}

// Split returns the kind of source that ref names, such as "oci-archive", and the rest of it: "" and ref itself for an
// image at a registry.
func Split(ref string) (kind, rest string) {
	kind, rest, ok := strings.Cut(ref, ":")
	if _, known := kinds[kind]; ok && known {
		return kind, rest
	}
	return "", ref
}

// IsFile reports whether ref names a file or directory of this host.
func IsFile(ref string) bool {
	kind, _ := Split(ref)
	return kind != "" && kind != "docker-daemon" && kind != "podman"
}

// Open finds the image ref. Only its manifest and its configuration are fetched. errs.ErrUsage is a ref that is none,
// errs.ErrNotFound one that is not there, or not for this platform.
func Open(ctx context.Context, ref string, o Options) (*Image, error) {
	kind, rest := Split(ref)
	open := openRegistry
	if kind != "" {
		open = kinds[kind]
		if rest == "" {
			return nil, errs.New(errs.ErrUsage, "no path after %q", kind+":").Hint("see 'noid image pull --help'")
		}
	}
	img, err := open(ctx, rest, o)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", ref, err)
	}
	return img, nil
}

// Layer is one layer of an image.
type Layer struct {
	Digest string // of the bytes as they are kept, compressed perhaps; "" where nobody has taken it, before Keep
	DiffID string // of the tar archive
	Size   int64  // of the bytes as they are kept; -1 where it is not known

	raw      func(context.Context) (io.ReadCloser, error) // the bytes as they are kept: waits for them
	damaged  func()                                       // is called when they are not those of the digests; may be nil
	tree     bool                                         // its digest was made by reading it before
	verified bool                                         // the archive was read, and is DiffID's
	download bool                                         // raw downloads it to where layers are kept
	held     *os.File                                     // it is kept here; may be nil
}

// Open returns the layer as a tar archive that is not compressed, while it is downloaded. An archive with another digest
// is an error at its end; Close reads up to the end if that is near. It may be called again.
func (l *Layer) Open(ctx context.Context) (io.ReadCloser, error) {
	raw, err := l.raw(ctx)
	if err != nil {
		return nil, fmt.Errorf("layer %s: %w", l.name(), err)
	}
	r, err := newReader(ctx, l, raw)
	if err != nil {
		raw.Close()
		return nil, err
	}
	return r, nil
}

// Verified reports whether the layer has been read to its end, and was what its digest says.
func (l *Layer) Verified() bool { return l.verified }

// name is the layer in messages: docker's short form of its digest.
func (l *Layer) name() string {
	digest := l.Digest
	if digest == "" {
		digest = l.DiffID
	}
	_, hex, _ := strings.Cut(digest, ":")
	return hex[:min(12, len(hex))]
}
