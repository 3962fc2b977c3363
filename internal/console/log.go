package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/untrusted"
)

// CopyLog writes the last lines of the log at path to w as the guest wrote it, all with a negative last, without the
// part that BoundLog removed. Put an untrusted.Writer before a terminal. With follow it continues until alive (nil: for
// ever) reports that the VM is gone, or until ctx ends and returns its error.
func CopyLog(ctx context.Context, w io.Writer, path string, last int, follow bool, alive func() bool) error {
	t, err := openTail(path)
	if err != nil {
		return fmt.Errorf("opening the console's log: %w", err)
	}
	defer t.Close()
	if last >= 0 {
		if err := t.skipTo(last); err != nil {
			return fmt.Errorf("reading the console's log: %w", err)
		}
	}
	buf := make([]byte, 32<<10)
	var p pace
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := t.read(buf)
		if err != nil {
			return fmt.Errorf("reading the console's log: %w", err)
		}
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
			p.pause = 0
			continue
		}
		if !follow {
			return nil
		}
		if err := p.wait(ctx, alive); err == errGone {
			return nil
		} else if err != nil {
			return err
		}
	}
}

const (
	guardLimit = 16 << 20 // bytes on disk above which the log is shortened
	guardKeep  = 8 << 20  // bytes of its end that stay
)

// BoundLog keeps a VM's console log from filling the disk. Once a second, while the VM is alive (nil: until ctx ends),
// it punches out all but the last 8 MiB of a log that takes more than 16 MiB of disk. Offsets stay valid. On a file
// system without holes it truncates the log to 0, and the writer appends from there. It ignores a log that is missing
// or not a regular file. It returns nil when the VM is gone, else ctx's error.
func BoundLog(ctx context.Context, logPath string, alive func() bool) error {
	for alive == nil || alive() {
		if err := boundLogOnce(logPath, guardLimit, guardKeep); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("shortening the console's log: %w", err)
		}
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
	}
	return nil
}

func boundLogOnce(path string, limit, keep int64) error {
	f, err := untrusted.Open(filepath.Dir(path), filepath.Base(path), os.O_RDWR)
	if err != nil {
		return err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	if st.Blocks*512 <= limit { // st_blocks counts 512-byte units whatever the block size, stat(2)
		return nil
	}
	block := max(int64(st.Blksize), 4096)
	end := (st.Size - keep) / block * block
	if end <= 0 {
		return nil
	}
	err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, end)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		err = f.Truncate(0)
	}
	return err
}
