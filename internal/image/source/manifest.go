package source

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"noid/internal/errs"
	"noid/internal/image"
	"noid/internal/untrusted"
)

// What an image may have at most: registries and docker have the same limits, or lower ones.
const (
	maxManifest = 4 << 20 // bytes
	maxConfig   = 8 << 20 // bytes
	maxLayers   = 1000
)

// store is where the parts of an image are found by their descriptors. Both may be called side by side.
type store interface {
	// small reads all of d, which has at most max bytes, and checks its digest.
	small(ctx context.Context, d v1.Descriptor, max int64) ([]byte, error)
	// layer returns the layer d, whose archive has the digest diffID. It does not wait.
	layer(d v1.Descriptor, diffID string) *Layer
}

// readImage makes an image of the manifest or index d, whose bytes are data.
func readImage(ctx context.Context, s store, d v1.Descriptor, data []byte, o Options) (*Image, error) {
	d, data, err := choose(ctx, s, d, data, o)
	if err != nil {
		return nil, err
	}
	m, err := v1.ParseManifest(bytes.NewReader(data))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the manifest: %w", err)
	case m.SchemaVersion != 2:
		return nil, fmt.Errorf("its manifest is of version %d, which registries gave up in 2019", m.SchemaVersion)
	case len(m.Layers) == 0:
		return nil, errors.New("it has no layers: it is no image of a file system")
	case len(m.Layers) > maxLayers:
		return nil, fmt.Errorf("its %d layers are more than the %d allowed", len(m.Layers), maxLayers)
	}
	config, err := s.small(ctx, m.Config, maxConfig)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	img, diffIDs, err := readConfig(config, o)
	if err != nil {
		return nil, err
	}
	if len(diffIDs) != len(m.Layers) {
		return nil, fmt.Errorf("it is damaged: %d layers, and digests of %d", len(m.Layers), len(diffIDs))
	}
	img.Digest, img.Manifest = d.Digest.String(), data
	for i, l := range m.Layers {
		if l.Size < 0 {
			return nil, fmt.Errorf("it is damaged: layer %s has %d bytes", l.Digest, l.Size)
		}
		if strings.Contains(string(l.MediaType), "encrypted") {
			return nil, fmt.Errorf("layer %s is encrypted", l.Digest)
		}
		img.Layers = append(img.Layers, s.layer(l, diffIDs[i]))
	}
	return img, nil
}

// choose follows an index to the manifest of the platform: at most one index in another.
func choose(ctx context.Context, s store, d v1.Descriptor, data []byte, o Options) (v1.Descriptor, []byte, error) {
	for range 3 {
		if is, err := isIndex(d.MediaType, data); err != nil || !is {
			return d, data, err
		}
		index, err := v1.ParseIndexManifest(bytes.NewReader(data))
		if err != nil {
			return d, nil, fmt.Errorf("reading the index: %w", err)
		}
		if d, err = pick(index.Manifests, o); err != nil {
			return d, nil, err
		}
		if data, err = s.small(ctx, d, maxManifest); err != nil {
			return d, nil, fmt.Errorf("reading the manifest: %w", err)
		}
	}
	return d, nil, errors.New("its index leads to indexes without end")
}

// isIndex reports whether data is an index. Some registries and archives have no media type. One digest is one image,
// whatever media type comes with it: what could be read as a manifest, too, is an error.
func isIndex(t types.MediaType, data []byte) (bool, error) {
	var doc struct{ Manifests, Layers json.RawMessage }
	json.Unmarshal(data, &doc) // who reads all of it finds what is wrong
	if doc.Manifests != nil && doc.Layers != nil {
		return false, errors.New("its manifest is an index, too: it can be read in two ways")
	}
	if t.IsIndex() || t.IsImage() {
		return t.IsIndex(), nil
	}
	return doc.Manifests != nil, nil
}

// baselines are the variants that every CPU of an architecture runs: of amd64 and of arm64.
var baselines = []string{"", "v1", "v8"}

// pick returns the manifest of the platform: the first one for every CPU of it, or the first of any variant.
func pick(list []v1.Descriptor, o Options) (v1.Descriptor, error) {
	goos, arch := o.platform()
	var have []string
	var other *v1.Descriptor
	for _, d := range list {
		switch p := d.Platform; {
		case p == nil && len(list) == 1:
			return d, nil
		case p != nil && p.OS == goos && p.Architecture == arch:
			if slices.Contains(baselines, p.Variant) {
				return d, nil
			}
			other = cmp.Or(other, &d)
		case p == nil, p.OS == "unknown": // an attestation
		default:
			have = append(have, p.OS+"/"+p.Architecture+prefixed("/", p.Variant))
		}
	}
	if other != nil {
		return *other, nil
	}
	return v1.Descriptor{}, noPlatform(goos+"/"+arch, have)
}

func noPlatform(want string, have []string) error {
	slices.Sort(have)
	have = slices.Compact(have)
	if len(have) > 30 {
		have = append(have[:30], "…")
	}
	only := prefixed(", only for ", untrusted.Line(strings.Join(have, ", "), 500))
	return errs.New(errs.ErrNotFound, "it is not there for %s%s", want, only).Hint(
		"guests have this host's architecture: choose an image that is built for it")
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

// readConfig reads the configuration of an image, and the digests of its layers' archives.
func readConfig(data []byte, o Options) (*Image, []string, error) {
	c, err := v1.ParseConfigFile(bytes.NewReader(data))
	if err != nil {
		return nil, nil, fmt.Errorf("reading the configuration: %w", err)
	}
	goos, arch := o.platform()
	if c.OS != "" && c.OS != goos || c.Architecture != "" && c.Architecture != arch {
		return nil, nil, noPlatform(goos+"/"+arch, []string{c.OS + "/" + c.Architecture})
	}
	var diffIDs []string
	for _, id := range c.RootFS.DiffIDs {
		diffIDs = append(diffIDs, id.String())
	}
	return &Image{ConfigFile: data, Config: configOf(c)}, diffIDs, nil
}

func configOf(c *v1.ConfigFile) image.Config {
	return image.Config{Env: c.Config.Env, User: c.Config.User, WorkingDir: c.Config.WorkingDir, Entrypoint: c.Config.Entrypoint,
		Cmd: c.Config.Cmd, StopSignal: c.Config.StopSignal}
}

// readAll reads at most max bytes of r, and checks their digest unless it is "".
func readAll(r io.Reader, digest string, max int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, max+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > max {
		return nil, fmt.Errorf("it has more than the %d bytes allowed", max)
	}
	if digest != "" {
		h, err := newHash(digest)
		if err != nil {
			return nil, err
		}
		h.Write(data)
		if err := checkSum(h, digest); err != nil {
			return nil, err
		}
	}
	return data, nil
}
