package vm

import (
	"bufio"
	"errors"
	"io"
	"strings"

	"noid/internal/errs"
)

// compressions are what a tar is often compressed with, and how such a file begins.
var compressions = []struct{ name, magic string }{
	{"gzip", "\x1f\x8b"},
	{"zstd", "\x28\xb5\x2f\xfd"},
	{"xz", "\xfd7zXZ\x00"},
	{"lz4", "\x04\x22\x4d\x18"},
	{"bzip2", "BZh"},
}

// sendTar sends a tar of the user's. One that is compressed is errs.ErrUsage, with the cure. An empty one has two empty
// blocks: nothing at all is what a tar(1) that failed leaves.
func sendTar(w io.Writer, r io.Reader) error {
	in := bufio.NewReader(r)
	head, err := in.Peek(10) // what stops it, Copy meets again
	if len(head) == 0 && err == io.EOF {
		return errors.New("standard input is empty: that is no tar")
	}
	for _, c := range compressions {
		begins := strings.HasPrefix(string(head), c.magic)
		if c.name == "bzip2" { // a tar begins with a name: "BZh" alone can be one
			begins = begins && len(head) == 10 && string(head[4:]) == "1AY&SY"
		}
		if begins {
			return errs.New(errs.ErrUsage, "standard input is compressed with %s", c.name).
				Hint("unpack it on the way: " + c.name + " -dc FILE | noid cp - NAME:/DIR")
		}
	}
	_, err = io.Copy(w, in)
	return err
}
