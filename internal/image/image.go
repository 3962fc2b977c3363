// Package image keeps the images that VMs are made from: what a registry, an archive or a directory has becomes one
// read-only ext4, the base of any number of VMs.
package image

import (
	"time"

	"noid/internal/image/source"
)

// BaseFile is the name of an image's ext4 in its directory. It is never written: VMs and checkpoints have hard links
// to it.
const BaseFile = "base.ext4"

// Image is an image that is built: its base can be booted. It is recorded as image.json beside the base.
type Image struct {
	Digest string    `json:"digest"` // of its manifest for this platform, such as "sha256:…"; of its content where it has none
	Refs   []string  `json:"refs,omitempty"`
	Config Config    `json:"config"`
	Layers []string  `json:"layers,omitempty"` // digests of the compressed layers, the bottom one first
	Built  time.Time `json:"built"`
	Size   int64     `json:"size"` // of the base, in bytes
}

// Config is what an image says of the programs in it.
type Config = source.Config
