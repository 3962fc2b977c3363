package source

import (
	"bytes"
	"encoding/json"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"noid/internal/image"
)

// Complete gives an image whose layers are kept the configuration and the manifest that it has none of. Its digest stays.
func (i *Image) Complete() error {
	if i.ConfigFile == nil {
		c := newConfig()
		for _, l := range i.Layers {
			if err := addLayer(c, l, v1.History{CreatedBy: "noid image import"}); err != nil {
				return err
			}
		}
		var err error
		if i.ConfigFile, err = json.Marshal(c); err != nil {
			return err
		}
	}
	if i.Manifest != nil {
		return nil
	}
	var layers []v1.Descriptor
	for _, l := range i.Layers {
		d, err := l.descriptor(types.OCIUncompressedLayer)
		if err != nil {
			return err
		}
		layers = append(layers, d)
	}
	return i.describe(layers)
}

// Compose makes an image of the layers of base, nil for none, and of top over them: a kept layer that is packed by gzip.
// config is what it says of its programs; the rest of its configuration is base's. Close base and the new image both.
func Compose(base *Image, top *Layer, made v1.History, config image.Config) (*Image, error) {
	c, img := newConfig(), &Image{Config: config}
	var layers []v1.Descriptor
	if base != nil {
		var err error
		if c, err = v1.ParseConfigFile(bytes.NewReader(base.ConfigFile)); err != nil {
			return nil, err
		}
		m, err := v1.ParseManifest(bytes.NewReader(base.Manifest))
		if err != nil {
			return nil, err
		}
		img.Layers, layers = append(img.Layers, base.Layers...), m.Layers
	}
	d, err := top.descriptor(types.OCILayer)
	if err == nil {
		err = addLayer(c, top, made)
	}
	if err != nil {
		return nil, err
	}
	img.Layers = append(img.Layers, top)
	c.Created, c.Author, c.Container = made.Created, made.Author, ""
	c.Config.Env, c.Config.User, c.Config.WorkingDir = config.Env, config.User, config.WorkingDir
	c.Config.Entrypoint, c.Config.Cmd, c.Config.StopSignal = config.Entrypoint, config.Cmd, config.StopSignal
	if img.ConfigFile, err = json.Marshal(c); err != nil {
		return nil, err
	}
	err = img.describe(append(layers, d))
	img.Digest = digestOf(img.Manifest)
	return img, err
}

// newConfig is the configuration of an image that says nothing of itself.
func newConfig() *v1.ConfigFile {
	return &v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH, RootFS: v1.RootFS{Type: "layers"}}
}

// addLayer says in the configuration that l is the top layer, and how it was made.
func addLayer(c *v1.ConfigFile, l *Layer, made v1.History) error {
	id, err := v1.NewHash(l.DiffID)
	c.RootFS.DiffIDs, c.History = append(c.RootFS.DiffIDs, id), append(c.History, made)
	return err
}

func (l *Layer) descriptor(kind types.MediaType) (v1.Descriptor, error) {
	digest, err := v1.NewHash(l.Digest)
	return v1.Descriptor{MediaType: kind, Digest: digest, Size: l.Size}, err
}

// ociLayers are what OCI calls docker's kinds of layers.
var ociLayers = map[types.MediaType]types.MediaType{types.DockerLayer: types.OCILayer, types.DockerUncompressedLayer: types.OCIUncompressedLayer}

// describe writes the manifest.
func (i *Image) describe(layers []v1.Descriptor) error {
	config, err := v1.NewHash(digestOf(i.ConfigFile))
	if err != nil {
		return err
	}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1,
		Config: v1.Descriptor{MediaType: types.OCIConfigJSON, Digest: config, Size: int64(len(i.ConfigFile))}}
	for _, l := range layers {
		if oci, ok := ociLayers[l.MediaType]; ok {
			l.MediaType = oci
		}
		m.Layers = append(m.Layers, l)
	}
	i.Manifest, err = json.Marshal(m)
	return err
}
