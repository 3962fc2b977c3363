// Package image says what is known of the images that VMs are made from. What a registry, an archive or a directory has
// becomes one read-only ext4, the base of any number of VMs: packages source, flatten and base do that in this order,
// and package store keeps what comes out.
package image

import "time"

// BaseFile is the name of an image's ext4 in its directory. It is never written: VMs and checkpoints have hard links
// to it.
const BaseFile = "base.ext4"

// Image is an image that is built: its base can be booted. It is recorded as image.json beside the base.
type Image struct {
	Digest string    `json:"digest"` // of its manifest for this platform, such as "sha256:…"; of its content where it has none
	Refs   []string  `json:"refs,omitempty"`
	Config Config    `json:"config"`
	Layers []string  `json:"layers,omitempty"` // digests of the layers as they are kept, the bottom one first
	Built  time.Time `json:"built"`
	Size   int64     `json:"size"` // of the base, in bytes
}

// Config is what an image says of the programs in it, in the words of the OCI image specification (config.md). Users
// and groups are names or numbers, which the guest looks up.
type Config struct {
	Env        []string `json:"env,omitempty"` // "NAME=VALUE"
	User       string   `json:"user,omitempty"`
	WorkingDir string   `json:"working_dir,omitempty"`
	Entrypoint []string `json:"entrypoint,omitempty"`
	Cmd        []string `json:"cmd,omitempty"`
	StopSignal string   `json:"stop_signal,omitempty"`
}
