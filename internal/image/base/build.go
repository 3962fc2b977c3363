package base

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"

	"noid/internal/image/flatten"
	"noid/internal/untrusted"
)

// builder makes a file system: the contents of files come first, then what is said of them, the superblock last.
type builder struct {
	disk    *disk
	blobs   *blobs
	nodes   []*flatten.Node // by their numbers: the root is rootInode, the next firstInode
	details map[*flatten.Node]*detail
	dirs    []uint32 // the numbers of directories, ascending
}

// tree writes all directories, and numbers the files in them.
func (b *builder) tree(ctx context.Context, root *flatten.Node) error {
	type dir struct {
		*flatten.Node
		parent uint32
	}
	root.Number = rootInode
	b.nodes = append(b.nodes, root)
	for queue := []dir{{root, rootInode}}; len(queue) > 0; queue = queue[1:] {
		if err := ctx.Err(); err != nil {
			return err
		}
		var list []dirent
		at := queue[0]
		at.Links = 2
		for name, n := range at.Children() {
			if n.Number == 0 {
				if err := b.number(n); err != nil {
					return fmt.Errorf(`"%s": %w`, untrusted.Line(name, 200), err)
				}
			}
			if n.Type() == flatten.TypeDir {
				queue = append(queue, dir{n, at.Number})
				at.Links++
			}
			list = append(list, dirent{name: name, number: n.Number, kind: kinds[n.Type()]})
		}
		if at.Links >= maxLinks {
			at.Links = 1 // "many"
		}
		content, size := writeDir(b.disk, at.Number, at.parent, list)
		at.Blob, at.Size = b.blobs.keep(content), size
		b.dirs = append(b.dirs, at.Number)
		if err := b.describe(at.Node); err != nil {
			return err
		}
	}
	return b.disk.err
}

// number gives a file the next number, and writes what it has beside its inode and contents. Directories are described
// when they are written.
func (b *builder) number(n *flatten.Node) error {
	n.Number = uint32(firstInode - 1 + len(b.nodes))
	b.nodes = append(b.nodes, n)
	switch {
	case n.Type() == flatten.TypeDir:
		return nil
	case n.Links > maxLinks:
		return fmt.Errorf("it has %d names, and ext4 has room for %d", n.Links, maxLinks)
	case n.Type() == flatten.TypeSymlink:
		if n.Size = int64(len(n.Target)); n.Size >= shortLink {
			var content blob
			content.add(extent{0, b.disk.append([]byte(n.Target)), 1})
			n.Blob = b.blobs.keep(content)
		}
	}
	return b.describe(n)
}

// describe writes the extended attributes and extents that an inode has no room for.
func (b *builder) describe(n *flatten.Node) error {
	xattrs, err := xattrsOf(n)
	if err != nil {
		return err
	}
	var d detail
	if len(xattrs) > 0 && inlineXattrs(xattrs, xattrRoom) == nil {
		d.xattrBlock = b.disk.append(xattrBlock(xattrs))
	}
	if extents := b.blobs.of(n); len(extents) > rootExtents {
		d.tree, d.treeBlocks = extentTree(b.disk, extents)
	}
	if d.xattrBlock != 0 || d.treeBlocks != 0 {
		b.details[n] = &d
	}
	return b.disk.err
}

// tables writes the inodes of all groups, and returns where each group's bitmaps are: its table follows.
func (b *builder) tables(s shape) (at []int64) {
	nodes, buf := b.nodes, make([]byte, chunk)
	for g := range s.groups {
		at = append(at, b.disk.place(2+s.tableBlocks()))
		b.disk.skip(2)
		end := b.disk.next() + s.tableBlocks()
		for number := g*s.inodesPerGroup + 1; number <= (g+1)*s.inodesPerGroup && len(nodes) > 0; number += inodesPerBlock {
			block := buf[:blockSize]
			clear(block)
			for len(nodes) > 0 && int64(nodes[0].Number) < number+inodesPerBlock {
				b.putInode(block[(int64(nodes[0].Number)-number)*inodeSize:][:inodeSize], nodes[0])
				nodes = nodes[1:]
			}
			b.disk.append(block)
		}
		b.disk.skip(end - b.disk.next()) // a hole: they are zeros
	}
	return at
}

func (b *builder) putInode(at []byte, n *flatten.Node) {
	d := b.details[n]
	if d == nil {
		d = &detail{}
	}
	putInode(at, n, b.blobs.of(n), d)
	if d.xattrBlock == 0 && len(n.Xattrs) > 0 {
		list, _ := xattrsOf(n) // describe had it
		if len(list) > 0 {
			copy(at[inodeSize-xattrRoom:], inlineXattrs(list, xattrRoom))
		}
	}
}

// finish writes bitmaps, group descriptors and the superblock, and the copies of both.
func (b *builder) finish(s shape, bitmaps []int64, digest string) {
	used := b.used(s)
	var freeBlocks, freeInodes int64
	descs, le := make([]byte, s.descBlocks()*blockSize), binary.LittleEndian
	inodes := int64(len(b.nodes)) + firstInode - 2
	for g := range s.groups {
		have := min(max(0, inodes-g*s.inodesPerGroup), s.inodesPerGroup)
		usedInodes := make(bitmap, blockSize)
		usedInodes.set(0, have, true)
		usedInodes.set(s.inodesPerGroup, blocksPerGroup, true)
		b.disk.writeAt(used.group(g), bitmaps[g]*blockSize)
		b.disk.writeAt(usedInodes, (bitmaps[g]+1)*blockSize)
		free := zeroBits(used.group(g))
		freeBlocks += free
		freeInodes += s.inodesPerGroup - have
		d := descs[g*descSize:]
		le.PutUint32(d, uint32(bitmaps[g]))
		le.PutUint32(d[4:], uint32(bitmaps[g]+1))
		le.PutUint32(d[8:], uint32(bitmaps[g]+2))
		le.PutUint16(d[0xc:], uint16(free))
		le.PutUint16(d[0xe:], uint16(s.inodesPerGroup-have))
		le.PutUint16(d[0x10:], uint16(b.dirsBelow((g+1)*s.inodesPerGroup)-b.dirsBelow(g*s.inodesPerGroup)))
	}
	super := s.superblock(freeBlocks, freeInodes, digest)
	for g := range s.groups {
		if at := g * blocksPerGroup * blockSize; hasCopy(g) {
			le.PutUint16(super[0x5a:], uint16(g))
			b.disk.writeAt(descs, at+blockSize)
			b.disk.writeAt(super, at+max(0, 1024*(1-g)))
		}
	}
}

// used returns the bitmap of all blocks.
func (b *builder) used(s shape) bitmap {
	used := make(bitmap, s.groups*blockSize)
	used.set(firstData, b.disk.next(), true)
	for _, e := range b.disk.free {
		used.set(int64(e.physical), int64(e.physical+e.length), false)
	}
	for g := range s.groups {
		if start := g * blocksPerGroup; hasCopy(g) {
			used.set(start, start+1+s.descBlocks(), true)
			used.set(start+1+s.descBlocks(), start+firstData, false)
		}
	}
	used.set(s.blocks, s.groups*blocksPerGroup, true)
	return used
}

// dirsBelow counts the directories whose numbers are up to number.
func (b *builder) dirsBelow(number int64) int {
	n, _ := slices.BinarySearch(b.dirs, uint32(number)+1)
	return n
}

func zeroBits(data []byte) (n int64) {
	for _, b := range data {
		n += int64(8 - bits.OnesCount8(b))
	}
	return n
}
