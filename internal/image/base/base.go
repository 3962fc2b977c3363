// Package base writes the tree of an image's layers into a file as a read-only ext4, without root.
package base

import (
	"context"
	"os"

	"noid/internal/image/flatten"
)

// Options are what a base has besides its layers.
type Options struct {
	Digest string // of the image: its file system's UUID is made of it
}

// Stats are the figures of a base that was built.
type Stats struct {
	Files int   // inodes
	Size  int64 // bytes, the file's length
}

// Build writes into f, an empty file, the ext4 of layers, the bottom one first. It opens the top layer first, and one
// at a time. The same layers and options give the same bytes. f is not synced. After an error its contents are worth
// nothing.
func Build(ctx context.Context, f *os.File, layers []flatten.Layer, opts Options) (Stats, error) {
	d := newDisk(f, firstData)
	b := &builder{disk: d, blobs: newBlobs(d), details: map[*flatten.Node]*detail{}}
	root, err := flatten.Flatten(ctx, layers, b.blobs, flatten.Default)
	if err != nil {
		return Stats{}, err
	}
	if err := b.tree(ctx, root); err != nil {
		return Stats{}, err
	}
	s, err := shapeOf(d.next(), int64(len(b.nodes))+firstInode-2)
	if err != nil {
		return Stats{}, err
	}
	bitmaps := b.tables(s)
	if d.flush() == nil {
		b.finish(s, bitmaps, opts.Digest)
	}
	if d.err == nil {
		d.err = f.Truncate(s.blocks * blockSize)
	}
	return Stats{Files: len(b.nodes), Size: s.blocks * blockSize}, d.err
}
