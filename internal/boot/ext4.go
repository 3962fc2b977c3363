package boot

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
)

// Offsets in the ext4 superblock, which lies 1024 bytes into the image: Documentation/filesystems/ext4/super.rst.
const (
	sbOffset         = 1024
	sbSize           = 1024
	sbInodes         = 0x0
	sbBlocksLo       = 0x4
	sbLogBlockSize   = 0x18
	sbBlocksPerGroup = 0x20
	sbInodesPerGroup = 0x28
	sbMagic          = 0x38
	sbCompat         = 0x5c
	sbIncompat       = 0x60
	sbJournalInode   = 0xe0
	sbBlocksHi       = 0x150

	compatJournal      = 0x4
	incompatJournalDev = 0x8
	incompatExtents    = 0x40
	incompat64Bit      = 0x80

	// incompatLinux are the features that a kernel must know, and that Linux knows: filetype, recover, meta_bg,
	// extents, 64bit, mmp, flex_bg, ea_inode, csum_seed, large_dir, inline_data, encrypt, casefold. Not among them are
	// compression and dirdata, which no release of Linux has.
	incompatLinux = 0x2 | 0x4 | 0x10 | incompatExtents | incompat64Bit | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000 | 0x10000 | 0x20000
)

// ext4Super is what noid reads of a superblock.
type ext4Super struct {
	blocks           uint64
	blockSize        uint64 // bytes
	compat, incompat uint32
	journal          uint32 // its inode; 0 for none or one that is elsewhere
}

// errNotExt4 is an image without ext4's magic.
var errNotExt4 = errors.New("no ext4 superblock")

// CheckExt4 reports whether path is an ext2, ext3 or ext4 image that the guest's kernel could mount: a sane superblock,
// and all the blocks it speaks of. It does not check the rest: e2fsck does. A missing file wraps errs.ErrNotFound.
func CheckExt4(path string) error {
	f, err := rootfsInput.open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	err = checkExt4(f, info.Size())
	if errors.Is(err, errNotExt4) {
		what, cure := describe(f)
		return rootfsInput.isNot(path, what, cure)
	} else if err != nil {
		return fmt.Errorf("%q is an ext4 image that no guest can mount: %w", path, err)
	}
	return nil
}

// CheckUnused refuses, with an errs.ErrBusy, an image that somebody has open for writing: it is mounted, or the disk of
// a VM that runs. A copy could be torn. Linux tells the image's owner and root; for others nothing is refused.
func CheckUnused(path string) error {
	f, err := rootfsInput.open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK) // fcntl(2): EAGAIN when it is open for writing
	if err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
	}
	if errors.Is(err, unix.EAGAIN) {
		return errs.New(errs.ErrBusy, "rootfs %q is in use: it is open for writing elsewhere, mounted or as the disk of a VM", path).
			Hint("unmount it ('losetup -j " + path + "' names its loop device), or stop that VM")
	}
	return nil
}

func checkExt4(r io.ReaderAt, size int64) error {
	sb, err := readExt4(r)
	if err != nil {
		return err
	}
	if sb.incompat&incompatJournalDev != 0 {
		return errors.New("it is an external journal, without files")
	}
	if sb.compat&compatJournal != 0 && sb.journal == 0 {
		return errors.New("its journal is on another device")
	}
	for i := range 32 {
		if bit := uint32(1) << i; sb.incompat&bit&^incompatLinux != 0 {
			return fmt.Errorf("it has the feature I%d of ext4 (bit %#x), with which no Linux that noid knows mounts it", i, bit)
		}
	}
	// Neither product can overflow: blockSize is at most 64 KiB.
	if sb.blocks > 1<<47 || sb.blocks*sb.blockSize > uint64(size) {
		return fmt.Errorf("it is truncated: the superblock speaks of %d blocks of %d bytes, the file has %d bytes", sb.blocks, sb.blockSize, size)
	}
	return nil
}

// readExt4 reads the superblock. It returns errNotExt4 without the magic, and another error if the fields cannot be.
func readExt4(r io.ReaderAt) (ext4Super, error) {
	b := make([]byte, sbSize)
	if _, err := r.ReadAt(b, sbOffset); err == io.EOF {
		return ext4Super{}, errNotExt4
	} else if err != nil {
		return ext4Super{}, err
	}
	if le.Uint16(b[sbMagic:]) != 0xef53 {
		return ext4Super{}, errNotExt4
	}
	sb := ext4Super{blocks: uint64(le.Uint32(b[sbBlocksLo:])), compat: le.Uint32(b[sbCompat:]), incompat: le.Uint32(b[sbIncompat:]),
		journal: le.Uint32(b[sbJournalInode:])}
	if sb.incompat&incompat64Bit != 0 {
		sb.blocks |= uint64(le.Uint32(b[sbBlocksHi:])) << 32
	}
	shift := le.Uint32(b[sbLogBlockSize:])
	if shift > 6 {
		return ext4Super{}, fmt.Errorf("a block size of 2^%d KiB", shift)
	}
	sb.blockSize = 1024 << shift
	if sb.blocks == 0 || le.Uint32(b[sbInodes:]) == 0 || le.Uint32(b[sbBlocksPerGroup:]) == 0 || le.Uint32(b[sbInodesPerGroup:]) == 0 {
		return ext4Super{}, errors.New("a superblock without blocks or inodes")
	}
	return sb, nil
}

func (sb ext4Super) describe() string {
	switch {
	case sb.incompat&incompatExtents != 0:
		return "an ext4 file system image"
	case sb.compat&compatJournal != 0:
		return "an ext3 file system image"
	}
	return "an ext2 file system image"
}
