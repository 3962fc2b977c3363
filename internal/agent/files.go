package agent

import (
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"noid/internal/agent/login"
	"noid/internal/link/wire"
)

// files are the two ends of a job's streams.
type files struct {
	child [3]*os.File // for the command; nil is closed
	in    *os.File
	out   [2]*os.File
	term  *os.File // the terminal, which in and out[0] are then too
	null  *os.File // the server's, which child[0] may be
}

// openFiles makes the streams of a job.
func (j *job) openFiles(e *wire.Exec, acc login.Account) (f *files, err error) {
	f = &files{null: j.s.null}
	if e.TTY {
		size := wire.Size{Rows: 24, Cols: 80}
		if e.Size != nil {
			size = *e.Size
		}
		term, tty, err := login.OpenTerminal(int(acc.UID), size)
		f.term, f.out[0], f.child = term, term, [3]*os.File{tty, tty, tty}
		if e.Stdin {
			f.in = term
		}
		return f, err
	}
	f.child[0] = f.null // the guest's /dev/null may be anything
	if e.Stdin {
		f.child[0], f.in, err = os.Pipe()
	}
	for i := range f.out {
		if err == nil {
			f.out[i], f.child[i+1], err = os.Pipe()
		}
	}
	if err != nil {
		f.closeChild()
		f.closeOwn()
	}
	return f, err
}

// descriptors returns the command's ends, in blocking mode as a command expects them.
func descriptors(files ...*os.File) []uintptr {
	fds := make([]uintptr, len(files))
	for i, f := range files {
		fds[i] = f.Fd() // -1 for nil
	}
	return fds
}

// widePipe is the size in bytes of a pipe through which much flows: with the usual 64 KiB the command and the agent
// switch all the time. The kernel takes memory for what is in it alone.
const widePipe = 256 << 10

// widen makes f wide, if it is a pipe and the kernel allows it; the usual size will do too.
func widen(f *os.File) {
	login.Control(f, func(fd int) { unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, widePipe) })
}

// closeChild closes the command's ends, which it has by now.
func (f *files) closeChild() {
	closeAll(slices.DeleteFunc(f.child[:], func(c *os.File) bool { return c == f.null })...)
}

func (f *files) closeOwn() { closeAll(f.in, f.out[0], f.out[1]) }

// closeAll closes files. Of nil, and of a second close, os.File makes an error.
func closeAll(files ...*os.File) {
	for _, f := range files {
		f.Close()
	}
}
