package agent

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"noid/internal/link/wire"
)

// files are the two ends of a job's streams.
type files struct {
	child [3]int // descriptors to give to the command
	in    *os.File
	out   [2]*os.File
	term  *os.File // the terminal, which in and out[0] are then too
}

// openFiles makes the streams of a job.
func (j *job) openFiles(e *wire.Exec, acc account) (*files, error) {
	if e.TTY {
		size := wire.Size{Rows: 24, Cols: 80}
		if e.Size != nil {
			size = *e.Size
		}
		term, tty, err := openTerminal(int(acc.uid), size)
		if err != nil {
			return nil, err
		}
		f := &files{child: [3]int{tty, tty, tty}, out: [2]*os.File{term, nil}, term: term}
		if e.Stdin {
			f.in = term
		}
		return f, nil
	}
	f := &files{child: [3]int{-1, -1, -1}}
	if e.Stdin {
		r, w, err := pipe(false)
		if err != nil {
			return nil, err
		}
		f.child[0], f.in = r, w
	} else if j.s.null != nil {
		// Of the descriptor's own, not of the guest's /dev/null, which may be anything.
		raw, err := j.s.null.SyscallConn()
		if err == nil {
			raw.Control(func(fd uintptr) { f.child[0] = int(fd) })
		}
	}
	for i := range f.out {
		w, r, err := pipe(true)
		if err != nil {
			f.closeChild()
			f.closeOwn()
			return nil, err
		}
		f.child[i+1], f.out[i] = w, r
	}
	return f, nil
}

// widePipe is the size in bytes of a pipe through which much flows: with the usual 64 KiB the command and the agent switch
// all the time. The kernel takes memory for what is in it alone.
const widePipe = 256 << 10

// widen makes f wide, if it is a pipe and the kernel allows it; the usual size will do too.
func widen(f *os.File) {
	if raw, err := f.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { unix.FcntlInt(fd, unix.F_SETPIPE_SZ, widePipe) })
	}
}

// pipe returns the command's end as a blocking descriptor and the agent's, which its runtime polls. read: the agent reads.
func pipe(read bool) (child int, own *os.File, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return -1, nil, fmt.Errorf("making a pipe: %w", err)
	}
	mine, theirs := p[0], p[1]
	if !read {
		mine, theirs = theirs, mine
	}
	if err := unix.SetNonblock(mine, true); err != nil {
		unix.Close(mine)
		unix.Close(theirs)
		return -1, nil, fmt.Errorf("making a pipe: %w", err)
	}
	return theirs, os.NewFile(uintptr(mine), "pipe"), nil
}

// closeChild closes the command's ends, which it has by now; not the one /dev/null.
func (f *files) closeChild() {
	if f.term != nil {
		unix.Close(f.child[0])
		return
	}
	if f.in != nil {
		unix.Close(f.child[0])
	}
	for _, fd := range f.child[1:] {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

func (f *files) closeOwn() {
	if f.in != nil {
		f.in.Close()
	}
	for _, o := range f.out {
		if o != nil {
			o.Close()
		}
	}
}
