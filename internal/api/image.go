package api

import (
	"noid/internal/image"
)

// Image is an image.
type Image struct {
	Digest    string       `json:"digest"`
	Refs      []string     `json:"refs"`
	SizeBytes int64        `json:"size_bytes"`
	BuiltAt   string       `json:"built_at"`
	Layers    []string     `json:"layers"`
	Config    image.Config `json:"config"`
}

// ImageOf is i.
func ImageOf(i image.Image) Image {
	return Image{i.Digest, append([]string{}, i.Refs...), i.Size, Time(i.Built), append([]string{}, i.Layers...), i.Config}
}
