package boot

import (
	"bytes"
	"fmt"
	"io"
)

// What is found in the first sectors of a disk with partitions: the boot sector's signature, at 510, and that of the
// table of UEFI's GPT, at 512.
const (
	mbrMagic = "\x55\xaa"
	gptMagic = "EFI PART"

	sectorSize = 512
	// maxPartitions is how many entries of a GPT are looked at: they make no more.
	maxPartitions = 128
)

// partition is one of a disk image, in sectors.
type partition struct{ start, length uint64 }

// partitions reads the table of a disk image that begins with head.
func partitions(r io.ReaderAt, head []byte) (list []partition) {
	if len(head) < 2*sectorSize {
		return nil
	}
	if gpt := head[sectorSize:]; bytes.HasPrefix(gpt, []byte(gptMagic)) {
		size := le.Uint32(gpt[84:])
		if size < 128 || size > 4096 {
			return nil
		}
		table := make([]byte, size*min(le.Uint32(gpt[80:]), maxPartitions))
		n, _ := r.ReadAt(table, int64(le.Uint64(gpt[72:])%(1<<40))*sectorSize)
		for e := table[:n]; len(e) >= int(size); e = e[size:] {
			first, last := le.Uint64(e[32:]), le.Uint64(e[40:])
			list = append(list, partition{first, last - first + 1})
		}
		return list
	}
	for e := head[446:510]; len(e) > 0; e = e[16:] {
		list = append(list, partition{uint64(le.Uint32(e[8:])), uint64(le.Uint32(e[12:]))})
	}
	return list
}

// partitionCure says how to take the first ext4 out of a disk image that begins with head, or what its largest
// partition is.
func partitionCure(r io.ReaderAt, head []byte) string {
	largest, number := partition{}, 0
	for i, p := range partitions(r, head) {
		if p.start == 0 || p.start >= 1<<40 || p.length == 0 || p.length >= 1<<40 {
			continue
		}
		if _, err := readExt4(p.in(r)); err == nil {
			return fmt.Sprintf("its partition %d is ext4: dd if=IMAGE of=ROOTFS bs=%d skip=%d count=%d conv=sparse", i+1, sectorSize, p.start, p.length)
		}
		if p.length > largest.length {
			largest, number = p, i+1
		}
	}
	const cure = "noid needs the partition with the root file system alone, as ext4"
	for _, m := range magics {
		if number > 0 && m.cure != "" && hasAt(largest.in(r), m.offset, m.magic) {
			return fmt.Sprintf("%s; its partition %d is %s", cure, number, m.what)
		}
	}
	return cure
}

// in is the partition's part of the disk image r.
func (p partition) in(r io.ReaderAt) io.ReaderAt {
	return io.NewSectionReader(r, int64(p.start)*sectorSize, int64(p.length)*sectorSize)
}

func hasAt(r io.ReaderAt, offset int, magic string) bool {
	found := make([]byte, len(magic))
	_, err := r.ReadAt(found, int64(offset))
	return err == nil && string(found) == magic
}
