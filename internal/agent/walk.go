package agent

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"noid/internal/agent/changes"
	"noid/internal/link/tree"
)

// Walk writes into out a list of the guest's files, as package tree has it, without what is mounted in the root. With
// the argument "changes", in a guest whose root is an overlay, it has what was changed of the image alone.
func Walk(out io.Writer, args []string) error {
	root, err := rootAlone()
	if err != nil {
		return err
	}
	defer unix.Close(root)
	if !slices.Equal(args, []string{"changes"}) {
		return changes.ListAll(out, root)
	}
	upper, err := openUpper()
	if err != nil {
		return err
	}
	defer unix.Close(upper)
	base, err := openBase()
	if err != nil {
		return err
	}
	defer unix.Close(base)
	return changes.List(out, upper, root, base)
}

// rootAlone is the root without what is mounted in it.
func rootAlone() (int, error) {
	root, err := unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("mounting the root once more: %w", err)
	}
	return root, nil
}

// openUpper opens the upper directory of the root's overlay.
func openUpper() (int, error) {
	disk, err := mountExt4("/dev/" + ownDisk())
	if err != nil {
		return -1, fmt.Errorf("mounting the disk: %w", err)
	}
	defer unix.Close(disk)
	upper, err := unix.Openat(disk, "upper", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("opening the upper directory: %w", err)
	}
	return upper, nil
}

// openBase opens the lower directory of the root's overlay.
func openBase() (int, error) {
	base, err := mountExt4("/dev/"+diskThat("1"), "ro")
	if err != nil {
		return -1, fmt.Errorf("mounting the base: %w", err)
	}
	return base, nil
}

// Contents answers the requests in in, as package tree has them, with sums and contents of the guest's files.
func Contents(in io.Reader, out io.Writer) error {
	root, err := rootAlone()
	if err != nil {
		return err
	}
	defer unix.Close(root)
	base := -1
	asks, answers := bufio.NewReader(in), bufio.NewWriterSize(out, 64<<10)
	for {
		ask, err := tree.ReadAsk(asks)
		if err == io.EOF {
			return answers.Flush()
		} else if err != nil {
			return err
		}
		dir := root
		if ask.Base {
			if base < 0 {
				if base, err = openBase(); err != nil {
					return err
				}
				defer unix.Close(base)
			}
			dir = base
		}
		if err := tree.WriteContent(answers, content(dir, ask)); err != nil {
			return err
		}
	}
}

// content reads a regular file below dir. A link on the way to it is not followed.
func content(dir int, ask tree.Ask) (c tree.Content) {
	fd, err := unix.Openat2(dir, ask.Path, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS})
	if err != nil {
		return c
	}
	f := os.NewFile(uintptr(fd), "")
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > tree.MaxContent {
		return c
	}
	sum := sha256.New()
	var data bytes.Buffer
	n, err := io.Copy(sum, io.TeeReader(io.LimitReader(f, tree.MaxContent+1), &limited{&data, ask.Limit + 1}))
	if err != nil || n > tree.MaxContent {
		return c
	}
	if c.OK = true; ask.Limit > 0 && data.Len() <= ask.Limit {
		c.Data = append([]byte{}, data.Bytes()...)
	}
	sum.Sum(c.Sum[:0])
	return c
}

// limited keeps what is written to it, up to some bytes.
type limited struct {
	*bytes.Buffer
	left int
}

func (l *limited) Write(b []byte) (int, error) {
	n := min(l.left, len(b))
	l.Buffer.Write(b[:n])
	l.left -= n
	return len(b), nil
}
