package base

import (
	"encoding/binary"

	"noid/internal/image/flatten"
)

// Inodes: struct ext4_inode in fs/ext4/ext4.h in Linux.
const (
	inodeSize      = 256
	inodesPerBlock = blockSize / inodeSize
	extraSize      = 32 // of the fields behind the first 128 bytes
	xattrRoom      = inodeSize - 128 - extraSize
	rootInode      = 2
	firstInode     = 11 // those below are reserved
	maxLinks       = 65000
	flagIndex      = 0x1000
	flagExtents    = 0x80000
	shortLink      = 60 // a symbolic link to a shorter path has it in its inode
)

// detail is what some inodes have beside a node.
type detail struct {
	xattrBlock uint32
	tree       [inodeBlockSize]byte // of more extents than an inode has room for
	treeBlocks uint32
}

// putInode writes the inode of a file whose contents are extents.
func putInode(b []byte, n *flatten.Node, extents []extent, d *detail) {
	le := binary.LittleEndian
	le.PutUint16(b, uint16(n.Mode))
	le.PutUint16(b[0x2:], uint16(n.UID))
	le.PutUint16(b[0x78:], uint16(n.UID>>16))
	le.PutUint16(b[0x18:], uint16(n.GID))
	le.PutUint16(b[0x7a:], uint16(n.GID>>16))
	le.PutUint32(b[0x4:], uint32(n.Size))
	le.PutUint32(b[0x6c:], uint32(n.Size>>32))
	le.PutUint16(b[0x1a:], uint16(n.Links))
	le.PutUint16(b[0x80:], extraSize)
	putTimes(b, n)
	used := uint64(d.treeBlocks)
	for _, e := range extents {
		used += uint64(e.length)
	}
	if d.xattrBlock != 0 {
		le.PutUint32(b[0x68:], d.xattrBlock)
		used++
	}
	sectors := used * (blockSize / 512)
	le.PutUint32(b[0x1c:], uint32(sectors))
	le.PutUint16(b[0x74:], uint16(sectors>>32))
	block := b[0x28 : 0x28+inodeBlockSize]
	flags := uint32(flagExtents)
	switch n.Type() {
	case flatten.TypeChar, flatten.TypeBlock:
		flags = 0
		if n.Major < 256 && n.Minor < 256 {
			le.PutUint32(block, n.Major<<8|n.Minor)
		} else {
			le.PutUint32(block[4:], n.Minor&0xff|n.Major<<8|n.Minor&^0xff<<12)
		}
	case flatten.TypeFIFO:
		flags = 0
	case flatten.TypeSymlink:
		if n.Size < shortLink {
			flags = 0
			copy(block, n.Target)
		}
	case flatten.TypeDir:
		if n.Size > blockSize {
			flags |= flagIndex
		}
	}
	if flags != 0 {
		if d.treeBlocks > 0 {
			copy(block, d.tree[:])
		} else {
			putExtents(block, extents, 0, rootExtents)
		}
	}
	le.PutUint32(b[0x20:], flags)
}

// putTimes writes all times as the one that a layer gives. Two bits count the times that 32 bits went round since 1970.
func putTimes(b []byte, n *flatten.Node) {
	const earliest, latest = -1 << 31, 1<<34 - 1<<31 - 1
	sec := max(earliest, min(latest, n.Sec))
	extra := uint32((sec-int64(int32(sec)))>>32)&3 | n.Nsec<<2
	for _, at := range []struct{ time, extra int }{{0x8, 0x8c}, {0xc, 0x84}, {0x10, 0x88}, {0x90, 0x94}} {
		binary.LittleEndian.PutUint32(b[at.time:], uint32(sec))
		binary.LittleEndian.PutUint32(b[at.extra:], extra)
	}
}
