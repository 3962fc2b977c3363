package flatten

import (
	"archive/tar"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"net/url"
	"path"
	"slices"
	"strings"
)

type action uint8

const (
	put      action = iota // the file node is there
	link                   // another name of the file target
	whiteout               // a lower layer's file is gone
	opaque                 // so is all that lower layers have in the directory
)

// entry is what one header of a layer asks for.
type entry struct {
	path   string // clean, "" for the root
	action action
	header uint32 // how many headers precede it in the layer
	node   *Node
	target string // clean
}

const (
	whiteoutPrefix = ".wh."
	opaqueName     = ".wh..wh..opq"
	metaPrefix     = ".wh..wh." // what AUFS kept in the root for itself
)

// parse makes an entry of a header; nil for one that is for no file.
func parse(h *tar.Header) (*entry, error) {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil, nil
	}
	name, err := clean(h.Name)
	if err != nil {
		return nil, err
	}
	e := &entry{path: name}
	dir, base := path.Split(name)
	switch {
	case base == opaqueName:
		e.path, e.action = strings.TrimSuffix(dir, "/"), opaque
		return e, nil
	case strings.HasPrefix(base, metaPrefix) && dir == "":
	case strings.HasPrefix(base, whiteoutPrefix):
		if base = base[len(whiteoutPrefix):]; base == "" || base == "." || base == ".." {
			return nil, errors.New("a whiteout without a name")
		}
		e.path, e.action = dir+base, whiteout
		return e, nil
	}
	if h.Typeflag == tar.TypeLink {
		e.action = link
		if e.target, err = clean(h.Linkname); err != nil {
			return nil, fmt.Errorf("its link: %w", err)
		}
		return e, nil
	}
	e.node, err = newNode(h)
	if err == nil && name == "" && e.node.Type() != TypeDir {
		err = errors.New("the root is not a directory")
	}
	return e, err
}

// clean returns a path without "." and without slashes that say nothing: "./usr//bin/" and "/usr/bin" are "usr/bin".
// It is a copy, since a header's strings may be part of a much longer one.
func clean(name string) (string, error) {
	if len(name) > maxPath {
		return "", fmt.Errorf("its path has %d bytes, more than %d", len(name), maxPath)
	}
	var b strings.Builder
	b.Grow(len(name))
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "" || part == ".":
			continue
		case part == "..":
			return "", errors.New(`its path has ".."`)
		case len(part) > maxName:
			return "", fmt.Errorf("its name has %d bytes, more than %d", len(part), maxName)
		case strings.IndexByte(part, 0) >= 0:
			return "", errors.New("its path has a zero byte")
		}
		if b.Len() > 0 {
			b.WriteByte('/')
		}
		b.WriteString(part)
	}
	return b.String(), nil
}

var types = map[byte]uint32{tar.TypeReg: TypeRegular, tar.TypeCont: TypeRegular,
	tar.TypeGNUSparse: TypeRegular, tar.TypeSymlink: TypeSymlink, tar.TypeChar: TypeChar, tar.TypeBlock: TypeBlock,
	tar.TypeDir: TypeDir, tar.TypeFifo: TypeFIFO}

func newNode(h *tar.Header) (*Node, error) {
	kind, ok := types[h.Typeflag]
	if !ok {
		return nil, fmt.Errorf("a tar entry of the unknown type %q", h.Typeflag)
	}
	if !fits(int64(h.Uid)) || !fits(int64(h.Gid)) {
		return nil, fmt.Errorf("no user and group have the numbers %d and %d", h.Uid, h.Gid)
	}
	n := &Node{Mode: kind | uint32(h.Mode&0o7777), UID: uint32(h.Uid), GID: uint32(h.Gid),
		Sec: h.ModTime.Unix(), Nsec: uint32(h.ModTime.Nanosecond())}
	switch kind {
	case TypeRegular:
		n.Size = h.Size
	case TypeSymlink:
		n.Mode |= 0o777
		n.Target = strings.Clone(h.Linkname)
		if n.Target == "" || len(n.Target) > maxPath || strings.IndexByte(n.Target, 0) >= 0 {
			return nil, fmt.Errorf("a symbolic link to a path of %d bytes", len(n.Target))
		}
	case TypeChar, TypeBlock:
		if h.Devmajor < 0 || h.Devmajor >= 1<<12 || h.Devminor < 0 || h.Devminor >= 1<<20 {
			return nil, fmt.Errorf("no device has the numbers %d:%d", h.Devmajor, h.Devminor)
		}
		n.Major, n.Minor = uint32(h.Devmajor), uint32(h.Devminor)
	}
	var err error
	n.Xattrs, err = xattrs(h.PAXRecords)
	return n, err
}

func fits(id int64) bool { return id >= 0 && id < math.MaxUint32 }

// xattrs finds the extended attributes in PAX records: as star, GNU tar and Go write them, and as libarchive does, whose
// names are percent-encoded and whose values base64. overlayfs' own are left out: they would hide files in the guest.
func xattrs(records map[string]string) ([]Xattr, error) {
	var list []Xattr
	for key, value := range records {
		name, ok := strings.CutPrefix(key, "SCHILY.xattr.")
		if encoded, libarchive := strings.CutPrefix(key, "LIBARCHIVE.xattr."); libarchive {
			var err error
			if name, err = url.PathUnescape(encoded); err != nil {
				return nil, fmt.Errorf("an extended attribute: %w", err)
			}
			if _, twice := records["SCHILY.xattr."+name]; twice {
				continue
			}
			data, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(value, "="))
			if err != nil {
				return nil, fmt.Errorf("an extended attribute: %w", err)
			}
			value, ok = string(data), true
		}
		if !ok || strings.HasPrefix(name, "trusted.overlay.") {
			continue
		}
		if name == "" || len(name) > maxName || strings.IndexByte(name, 0) >= 0 {
			return nil, fmt.Errorf("an extended attribute whose name has %d bytes", len(name))
		}
		list = append(list, Xattr{strings.Clone(name), strings.Clone(value)})
	}
	slices.SortFunc(list, func(a, b Xattr) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// text is how many bytes of memory the entry's strings take.
func (e *entry) text() int {
	n := len(e.path) + len(e.target)
	if e.node != nil {
		n += len(e.node.Target)
		for _, x := range e.node.Xattrs {
			n += len(x.Name) + len(x.Value)
		}
	}
	return n
}
