package base

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"noid/internal/image/flatten"
)

// Extended attributes (fs/ext4/xattr.h in Linux) are behind the inode if they fit, else in a block.
const (
	xattrMagic       = 0xea020000
	xattrEntry       = 16
	xattrBlockHeader = 32
)

// prefixes are the beginnings of names that ext4 writes as a number.
var prefixes = []struct {
	text  string
	index byte
}{{"user.", 1}, {aclAccess, 2}, {aclDefault, 3}, {"trusted.", 4}, {"security.", 6}}

// xattr is an extended attribute as ext4 has it.
type xattr struct {
	index       byte
	name, value string
}

func (x xattr) size() int { return xattrEntry + pad4(len(x.name)) + pad4(len(x.value)) }

// xattrsOf are those of a file's attributes that the kernel knows, in ext4's order. Others, of other systems, are left out.
func xattrsOf(n *flatten.Node) ([]xattr, error) {
	var list []xattr
	size := 4 // they end in a zero
	for _, x := range n.Xattrs {
		for _, p := range prefixes {
			name, ok := strings.CutPrefix(x.Name, p.text)
			if !ok {
				continue
			}
			value := x.Value
			if p.text == aclAccess || p.text == aclDefault {
				var err error
				if value, err = acl(value); err != nil || name != "" {
					return nil, fmt.Errorf("its extended attribute %s: it is no access control list", p.text)
				}
			}
			list = append(list, xattr{p.index, name, value})
			size += list[len(list)-1].size()
			break
		}
	}
	if max := blockSize - xattrBlockHeader; size > max {
		return nil, fmt.Errorf("its extended attributes take %d bytes, and ext4 has room for %d", size, max)
	}
	slices.SortFunc(list, func(a, b xattr) int {
		return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(len(a.name), len(b.name)), strings.Compare(a.name, b.name))
	})
	return list, nil
}

// inlineXattrs are attributes for the room behind an inode, or nil if they do not fit.
func inlineXattrs(list []xattr, room int) []byte {
	size := 8
	for _, x := range list {
		size += x.size()
	}
	if size > room {
		return nil
	}
	area := make([]byte, room)
	binary.LittleEndian.PutUint32(area, xattrMagic)
	putXattrs(area[4:], 0, list)
	return area
}

func xattrBlock(list []xattr) []byte {
	block := make([]byte, blockSize)
	le := binary.LittleEndian
	le.PutUint32(block, xattrMagic)
	le.PutUint32(block[4:], 1) // how many inodes have it
	le.PutUint32(block[8:], 1) // how many blocks it has
	putXattrs(block[xattrBlockHeader:], xattrBlockHeader, list)
	return block
}

// putXattrs writes entries from the start of area and their values from its end. Where a value is counts from base
// bytes before area.
func putXattrs(area []byte, base int, list []xattr) {
	le := binary.LittleEndian
	at, end := 0, len(area)
	for _, x := range list {
		end -= pad4(len(x.value))
		copy(area[end:], x.value)
		e := area[at:]
		e[0], e[1] = byte(len(x.name)), x.index
		le.PutUint16(e[2:], uint16(base+end))
		le.PutUint32(e[8:], uint32(len(x.value)))
		le.PutUint32(e[12:], xattrHash(x.name, area[end:end+pad4(len(x.value))]))
		copy(e[xattrEntry:], x.name)
		at += xattrEntry + pad4(len(x.name))
	}
}

// xattrHash is the kernel's ext4_xattr_hash_entry.
func xattrHash(name string, value []byte) (hash uint32) {
	for i := range len(name) {
		hash = hash<<5 ^ hash>>27 ^ uint32(name[i])
	}
	for ; len(value) > 0; value = value[4:] {
		hash = hash<<16 ^ hash>>16 ^ binary.LittleEndian.Uint32(value)
	}
	return hash
}

func pad4(n int) int { return (n + 3) &^ 3 }
