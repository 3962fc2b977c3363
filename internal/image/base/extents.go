package base

import "encoding/binary"

// Extent trees: fs/ext4/ext4_extents.h in Linux.
const (
	maxExtent      = 32768 // blocks
	extentHeader   = 12    // bytes, as is each entry
	rootExtents    = 4     // in an inode
	blockExtents   = (blockSize - extentHeader) / extentHeader
	extentMagic    = 0xf30a
	inodeBlockSize = 60 // of an inode's own room for them
)

// extentTree returns what an inode says of its extents, and how many blocks of the disk it needed for it.
func extentTree(d *disk, list []extent) (root [inodeBlockSize]byte, used uint32) {
	depth := uint16(0)
	for len(list) > rootExtents {
		var upper []extent
		for len(list) > 0 {
			n := min(len(list), blockExtents)
			var node [blockSize]byte
			putExtents(node[:], list[:n], depth, blockExtents)
			upper = append(upper, extent{list[0].logical, d.append(node[:]), 0})
			used++
			list = list[n:]
		}
		list = upper
		depth++
	}
	putExtents(root[:], list, depth, rootExtents)
	return root, used
}

func putExtents(node []byte, list []extent, depth uint16, max int) {
	le := binary.LittleEndian
	le.PutUint16(node, extentMagic)
	le.PutUint16(node[2:], uint16(len(list)))
	le.PutUint16(node[4:], uint16(max))
	le.PutUint16(node[6:], depth)
	for i, e := range list {
		at := node[extentHeader*(i+1):]
		le.PutUint32(at, e.logical)
		if depth == 0 {
			le.PutUint16(at[4:], uint16(e.length))
			le.PutUint32(at[8:], e.physical)
		} else {
			le.PutUint32(at[4:], e.physical)
		}
	}
}
