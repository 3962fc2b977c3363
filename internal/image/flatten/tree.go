package flatten

import (
	"io"
	"iter"
	"maps"
	"slices"
)

// The kinds of files, as the upper bits of Node.Mode and as the kernel counts them (S_IFMT).
const (
	TypeMask    = 0xf000
	TypeFIFO    = 0x1000
	TypeChar    = 0x2000
	TypeDir     = 0x4000
	TypeBlock   = 0x6000
	TypeRegular = 0x8000
	TypeSymlink = 0xa000
)

// Blob is what a Store calls the contents of one file. The zero Blob is that of an empty file.
type Blob uint32

// Store keeps the contents of files.
type Store interface {
	// Check refuses a file whose metadata cannot be kept.
	Check(n *Node) error
	// Write keeps size bytes of r, which is at least one.
	Write(r io.Reader, size int64) (Blob, error)
	// Drop forgets what Write kept: no file has it.
	Drop(Blob)
}

// Node is a file of the tree, which may have several names.
type Node struct {
	Mode         uint32 // the kind and the permissions
	UID, GID     uint32
	Sec          int64 // when it was changed, in seconds since 1970, and
	Nsec         uint32
	Links        uint32 // how many names it has
	Size         int64  // of a regular file, in bytes
	Blob         Blob   // of a regular file
	Number       uint32 // for whom walks the tree; flatten leaves it alone
	Major, Minor uint32 // of a device
	Target       string // of a symbolic link
	Xattrs       []Xattr
	children     map[string]dirent
}

// Xattr is an extended attribute.
type Xattr struct{ Name, Value string }

// dirent is a name in a directory, and the layer that touched it last: the bottom one is 1.
type dirent struct {
	*Node
	layer int
}

// Type is the kind of the file, of those above.
func (n *Node) Type() uint32 { return n.Mode & TypeMask }

// Children are the names in a directory, in the order of their bytes.
func (n *Node) Children() iter.Seq2[string, *Node] {
	return func(yield func(string, *Node) bool) {
		for _, name := range slices.Sorted(maps.Keys(n.children)) {
			if !yield(name, n.children[name].Node) {
				return
			}
		}
	}
}

func (n *Node) set(name string, child dirent) {
	if n.children == nil {
		n.children = map[string]dirent{}
	}
	n.children[name] = child
}

// become gives n the metadata of other. A directory keeps its children.
func (n *Node) become(other *Node) {
	children := n.children
	*n = *other
	n.children = children
}
