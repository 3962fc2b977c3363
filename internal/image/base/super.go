package base

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
)

// Superblock, group descriptors and bitmaps: struct ext4_super_block and ext4_group_desc in fs/ext4/ext4.h in Linux.
const (
	descSize  = 32
	descRoom  = 32 // blocks kept for the descriptors, which are written last: enough for 512 GiB
	firstData = 1 + descRoom

	compat   = 0x8 | 0x20                    // ext_attr, dir_index
	incompat = 0x2 | 0x40 | 0x200            // filetype, extent, flex_bg
	roCompat = 0x1 | 0x2 | 0x8 | 0x20 | 0x40 // sparse_super, large_file, huge_file, dir_nlink, extra_isize

	flagUnsigned = 2 // the hash of names takes their bytes as unsigned
)

// shape is how a file system is divided.
type shape struct {
	groups, inodesPerGroup, blocks int64
}

// shapeOf returns the least file system that has room for inodes behind its data: for each group two bitmaps, then its
// table of inodes.
func shapeOf(dataEnd, inodes int64) (shape, error) {
	for groups := max(1, ceil(inodes, blocksPerGroup)); groups <= descRoom*blockSize/descSize; groups++ {
		s := shape{groups: groups, inodesPerGroup: ceil(ceil(inodes, groups), inodesPerBlock) * inodesPerBlock, blocks: dataEnd}
		for range groups {
			s.blocks = placeFor(s.blocks, 2+s.tableBlocks()) + 2 + s.tableBlocks()
		}
		if s.blocks > groups*blocksPerGroup {
			continue
		}
		if s.blocks <= (groups-1)*blocksPerGroup { // so many groups are for the inodes alone
			s.blocks = groups * blocksPerGroup
		}
		return s, nil
	}
	return shape{}, errors.New("the image is too large for one file system")
}

func ceil(a, b int64) int64 { return (a + b - 1) / b }

func (s shape) tableBlocks() int64 { return s.inodesPerGroup / inodesPerBlock }
func (s shape) descBlocks() int64  { return ceil(s.groups*descSize, blockSize) }

// bitmap has a bit for each block or inode; group is the part of it that one block of the disk has.
type bitmap []byte

func (b bitmap) set(from, to int64, used bool) {
	for i := from; i < to; i++ {
		if used && i%8 == 0 && to-i >= 8 {
			b[i/8] = 0xff
			i += 7
		} else if used {
			b[i/8] |= 1 << (i % 8)
		} else {
			b[i/8] &^= 1 << (i % 8)
		}
	}
}

func (b bitmap) group(group int64) []byte { return b[group*blockSize : (group+1)*blockSize] }

// superblock returns the 1024 bytes of the superblock.
func (s shape) superblock(freeBlocks, freeInodes int64, digest string) []byte {
	b, le := make([]byte, 1024), binary.LittleEndian
	for at, value := range map[int]int64{0x0: s.groups * s.inodesPerGroup, 0x4: s.blocks, 0xc: freeBlocks, 0x10: freeInodes,
		0x18: 2, 0x1c: 2, // blocks of 1024<<2 bytes
		0x20: blocksPerGroup, 0x24: blocksPerGroup, 0x28: s.inodesPerGroup,
		0x4c: 1, 0x54: firstInode, 0x5c: compat, 0x60: incompat, 0x64: roCompat, 0x160: flagUnsigned} {
		le.PutUint32(b[at:], uint32(value))
	}
	for at, value := range map[int]uint16{0x36: 0xffff, 0x38: 0xef53, 0x3a: 1, 0x3c: 1, // no checks by count, clean, go on after errors
		0x58: inodeSize, 0x15c: extraSize, 0x15e: extraSize} {
		le.PutUint16(b[at:], value)
	}
	uuid := sha256.Sum256([]byte("noid base " + digest))
	uuid[6] = uuid[6]&0xf | 0x80 // RFC 9562: a UUID of our own making
	uuid[8] = uuid[8]&0x3f | 0x80
	copy(b[0x68:], uuid[:16])
	copy(b[0x78:], "noid-base")
	b[0xfc] = hashLegacy
	return b
}
