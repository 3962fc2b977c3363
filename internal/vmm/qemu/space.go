package qemu

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/storage"
	"noid/internal/untrusted"
	"noid/internal/vmm"
)

// waitsFile is in the VM's directory while its guest stands still for want of disk space.
const waitsFile = "waits.space"

const (
	// lowSpace is how little free space pauses a guest whose memory may need new blocks: what a fast one writes between
	// two looks. enoughSpace has it run again.
	lowSpace    = 64 << 20
	enoughSpace = 2 * lowSpace
	// Free space is looked at every slowLook, and the more often the less there is, down to fastLook: before somebody
	// who writes fillRate bytes a second has filled the disk.
	fillRate = 2 << 30
	slowLook = time.Second
	fastLook = 50 * time.Millisecond
)

// watchSpace keeps a full disk from ending the guest whose QEMU runs in the current directory, until ctx ends. Where
// memory's blocks are not reserved (see storage.Reserve), a page that is written when none is free takes QEMU down by
// SIGBUS: the guest is paused before. A guest that QEMU has stopped because a write to its disk found no space is
// looked after as well. When there is room again, resume is called to have the guest run; it fails when that is not
// possible now. It is a help, no promise: what fills the disk faster than it looks wins.
func watchSpace(ctx context.Context, resume func(context.Context) error) error {
	if _, err := isReserved("."); err != nil {
		return err
	}
	waits := isWaiting(".") // for the helper before this one
	noted := waits
	look := slowLook
	for vmm.Sleep(ctx, look) == nil {
		free, err := storage.Free(".")
		if err != nil {
			continue
		}
		reserved, err := isReserved(".") // now: a guest that came from a home without reserved blocks gives some back
		if err != nil {
			continue
		}
		look = slowLook
		if !waits && isWaiting(".") { // says refuse
			waits, noted = true, true
		}
		switch {
		case waits && noted && !isWaiting("."):
			waits = false // somebody paused or resumed it meanwhile
		case waits && free >= enoughSpace:
			if resume(ctx) == nil {
				os.Remove(waitsFile)
				waits = false
			}
		case waits && !noted:
			noted = note(".", free) == nil // there may be room for a note now
		case !waits && free < lowSpace:
			if waits = stand(ctx, !reserved); waits {
				noted = note(".", free) == nil
			}
		}
		if !waits && !reserved {
			look = max(fastLook, slowLook*time.Duration(min(free, fillRate))/fillRate)
		}
	}
	return ctx.Err()
}

// refuse is the errs.ErrHost of a guest that must not be let run now, since its memory may need new blocks and there are
// too few. Such a guest waits from then on.
func refuse(dir string) error {
	free, err := storage.Free(dir)
	if err != nil || free >= lowSpace {
		return nil
	}
	if reserved, err := isReserved(dir); err != nil || reserved {
		return nil
	}
	hint := storage.FullHint
	if note(dir, free) != nil { // so that the helper does not learn of it
		hint += "; then let it run with 'noid resume'"
	}
	return errs.New(errs.ErrHost, "no space: %d MiB are free, %d MiB needed", free>>20, enoughSpace>>20).Hint(hint)
}

// isReserved reports whether every page of the memory of dir's guest has a block.
func isReserved(dir string) (bool, error) {
	f, err := untrusted.Open(dir, memoryFile, unix.O_RDONLY)
	if err != nil {
		return false, err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return false, err
	}
	fs := storage.FSType(dir)
	return st.Blocks*512 >= st.Size && (fs == "ext4" || fs == "xfs"), nil // stat(2): always units of 512 bytes
}

// isWaiting reports whether the guest of dir is noted to wait for space.
func isWaiting(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, waitsFile))
	return err == nil
}

// stand pauses the running guest, if pause says so, and reports whether it stands still now for want of space.
func stand(ctx context.Context, pause bool) bool {
	ctx, cancel := bounded(ctx, slowLook)
	defer cancel()
	c, err := dial(ctx, ".")
	if err != nil {
		return false // another noid talks with QEMU
	}
	defer c.close()
	switch status, _ := c.status(); status {
	case "io-error": // its disk's default is werror=enospc
		return true
	case "running":
		return pause && c.do("stop", nil, nil) == nil
	}
	return false
}

// note says in dir's waitsFile and in QEMU's log why the guest stands still. waitsFile is a link to nowhere: its text of less
// than 60 bytes needs no block of a full disk. Even so there may be no room for it.
func note(dir string, free int64) error {
	text := fullText(free)
	err := os.Symlink(text, filepath.Join(dir, waitsFile))
	if log, e := untrusted.Open(dir, LogFile, unix.O_WRONLY|unix.O_APPEND); e == nil && err == nil {
		log.WriteString("noid: the guest was paused: " + text + "\n")
		log.Close()
	}
	return err
}

// fullText says that free bytes are too few.
func fullText(free int64) string {
	return fmt.Sprintf("the disk is full: %d MiB are free, %d MiB needed", free>>20, enoughSpace>>20)
}

// WhyPaused implements vmm.Driver.
func (d *Driver) WhyPaused(dir string) string {
	text, err := os.Readlink(filepath.Join(dir, waitsFile))
	if err != nil {
		return ""
	}
	if free, err := storage.Free(dir); err == nil {
		if free >= enoughSpace { // the helper is about to have it run
			return ""
		}
		text = fullText(free) // as of now, not of then
	}
	return untrusted.Line(text, 200)
}
