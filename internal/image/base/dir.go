package base

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"
	"strings"

	"noid/internal/image/flatten"
)

// Directories (fs/ext4/namei.c in Linux) are one block of entries; or, if that is too little, an index by the hashes of
// names, and the entries in its leaves. The index is what keeps looking up a name quick in a directory of many.
const (
	direntHeader = 8
	dotsSize     = 24 // of "." and ".."
	indexEntry   = 8
	nodeLimit    = (blockSize - direntHeader) / indexEntry
	rootLimit    = (blockSize - dotsSize - indexEntry) / indexEntry
	hashLegacy   = 0 // the oldest: one file system that nobody else writes needs no secret one
)

// dirent is a name in a directory.
type dirent struct {
	name   string
	number uint32
	kind   byte
	hash   uint32
}

// indexed is where in the index the entries from a hash on are: in which block of the directory.
type indexed struct{ hash, block uint32 }

// kinds are what an entry says of its file's type.
var kinds = map[uint32]byte{flatten.TypeRegular: 1, flatten.TypeDir: 2, flatten.TypeChar: 3, flatten.TypeBlock: 4,
	flatten.TypeFIFO: 5, flatten.TypeSymlink: 7}

// writeDir writes a directory and returns its contents, and their size in bytes.
func writeDir(d *disk, number, parent uint32, list []dirent) (blob, int64) {
	var block direntBlock
	block.add(".", number, kinds[flatten.TypeDir])
	block.add("..", parent, kinds[flatten.TypeDir])
	for _, e := range list {
		if !block.fits(e.name) {
			return writeIndexed(d, number, parent, list)
		}
		block.add(e.name, e.number, e.kind)
	}
	var content blob
	content.add(extent{0, d.append(block.end()), 1})
	return content, blockSize
}

func writeIndexed(d *disk, number, parent uint32, list []dirent) (blob, int64) {
	for i := range list {
		list[i].hash = nameHash(list[i].name)
	}
	slices.SortFunc(list, func(a, b dirent) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), strings.Compare(a.name, b.name))
	})
	var below blob // all blocks but the first, which is written last
	next := uint32(1)
	write := func(block []byte) {
		below.add(extent{next, d.append(block), 1})
		next++
	}
	index := writeLeaves(list, &next, write)
	levels := byte(0)
	if len(index) > rootLimit {
		var upper []indexed
		for part := range slices.Chunk(index, nodeLimit) {
			upper = append(upper, indexed{part[0].hash, next})
			node := make([]byte, blockSize)
			binary.LittleEndian.PutUint16(node[4:], blockSize) // an entry that is no file's
			putIndex(node[direntHeader:], part, nodeLimit)
			write(node)
		}
		index, levels = upper, 1
	}
	if len(index) > rootLimit {
		d.fail(errors.New("a directory has too many names"))
		return below, 0
	}
	var content blob
	content.add(extent{0, d.append(indexRoot(number, parent, index, levels)), 1})
	for _, e := range below.extents() {
		content.add(e)
	}
	return content, int64(next) * blockSize
}

// writeLeaves writes entries in the order of their hashes and returns where they are.
func writeLeaves(list []dirent, next *uint32, write func([]byte)) (index []indexed) {
	var leaf direntBlock
	for i, e := range list {
		if i == 0 || !leaf.fits(e.name) {
			if i > 0 {
				write(leaf.end())
			}
			hash := e.hash
			if i > 0 && list[i-1].hash == hash {
				hash |= 1 // the block before has names of this hash too
			}
			index = append(index, indexed{hash, *next})
			leaf = direntBlock{}
		}
		leaf.add(e.name, e.number, e.kind)
	}
	write(leaf.end())
	return index
}

// indexRoot is the first block of an indexed directory. To who does not know of the index, it has "." and "..".
func indexRoot(number, parent uint32, index []indexed, levels byte) []byte {
	var dots direntBlock
	dots.add(".", number, kinds[flatten.TypeDir])
	dots.add("..", parent, kinds[flatten.TypeDir])
	root := dots.end()
	root[dotsSize+4] = hashLegacy
	root[dotsSize+5] = indexEntry // how long this information is
	root[dotsSize+6] = levels
	putIndex(root[dotsSize+8:], index, rootLimit)
	return root
}

func putIndex(block []byte, list []indexed, limit int) {
	le := binary.LittleEndian
	for i, e := range list {
		le.PutUint32(block[indexEntry*i:], e.hash)
		le.PutUint32(block[indexEntry*i+4:], e.block)
	}
	le.PutUint16(block, uint16(limit)) // in the place of the first hash, which needs none
	le.PutUint16(block[2:], uint16(len(list)))
}

// nameHash is the kernel's dx_hack_hash_unsigned.
func nameHash(name string) uint32 {
	hash, before := uint32(0x12a3fe2d), uint32(0x37abe8f9)
	for i := range len(name) {
		next := before + (hash ^ uint32(name[i])*7152373)
		if next&0x80000000 != 0 {
			next -= 0x7fffffff
		}
		before, hash = hash, next
	}
	if hash <<= 1; hash == 0xfffffffe { // the end of the directory
		hash = 0xfffffffc
	}
	return hash
}

// direntBlock is a block of entries.
type direntBlock struct {
	data []byte
	last int // where the last one begins
}

func (b *direntBlock) fits(name string) bool { return len(b.data)+direntSize(name) <= blockSize }

func (b *direntBlock) add(name string, number uint32, kind byte) {
	if b.data == nil {
		b.data = make([]byte, 0, blockSize)
	}
	b.last = len(b.data)
	b.data = b.data[:b.last+direntSize(name)]
	e := b.data[b.last:]
	binary.LittleEndian.PutUint32(e, number)
	binary.LittleEndian.PutUint16(e[4:], uint16(len(e)))
	e[6], e[7] = byte(len(name)), kind
	copy(e[direntHeader:], name)
}

// end gives the last entry what is left of the block.
func (b *direntBlock) end() []byte {
	binary.LittleEndian.PutUint16(b.data[b.last+4:], uint16(blockSize-b.last))
	return b.data[:blockSize]
}

func direntSize(name string) int { return (direntHeader + len(name) + 3) &^ 3 }
