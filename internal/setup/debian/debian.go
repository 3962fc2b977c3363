// Package debian gets what a host lacks from the packages of Debian and Ubuntu: a kernel with its modules, a static
// busybox for a small root filesystem, programs. Packages are downloaded and unpacked, which takes no root; programs
// alone are installed.
//
// Everything is made in a directory of its own and published by a rename. An interrupted call leaves nothing half done.
package debian

import (
	"fmt"

	"noid/internal/storage"
)

// Options says where to put things and whom to tell.
type Options struct {
	KernelsDir string // for kernels with their modules
	ImagesDir  string // for root filesystem images
	// Progress is told what is going on, a line at a time without a newline; nil is told nothing.
	Progress func(string)
}

func (o Options) say(format string, args ...any) {
	if o.Progress != nil {
		o.Progress(fmt.Sprintf(format, args...))
	}
}

// Sweep removes what a setup that was killed has left.
func Sweep(o Options) {
	for _, dir := range []string{o.KernelsDir, o.ImagesDir} {
		if _, done, err := storage.WorkDir(dir); err == nil { // its first work
			done()
		}
	}
}
