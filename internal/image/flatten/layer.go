// Package flatten makes one file tree of an image's layers. Layers are hostile: what they say is checked and bounded.
package flatten

import (
	"context"
	"io"
)

// Layer is one layer of an image.
type Layer interface {
	// Open returns the layer as an uncompressed tar stream. It may block, for example until the layer is downloaded. It
	// may be called again: most layers are read once, some twice. The caller closes what it returns, read to its end or
	// not.
	Open(ctx context.Context) (io.ReadCloser, error)
}
