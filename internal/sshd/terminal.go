package sshd

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/agent/login"
	"noid/internal/link/wire"
)

const (
	// quiet is how long a terminal must be silent after its command's end: what still has it is left behind.
	quiet = 100 * time.Millisecond
	// maxTyping is how many bytes are written to a terminal at once: its line discipline holds 4096.
	maxTyping = 2 << 10
)

// windowSize is a terminal's size, in characters and in pixels (RFC 4254, section 6.7).
type windowSize struct{ Columns, Rows, Width, Height uint32 }

func (w windowSize) size() wire.Size {
	const most = 1<<16 - 1
	return wire.Size{Rows: uint16(min(w.Rows, most)), Cols: uint16(min(w.Columns, most))}
}

// ptyRequest asks for a terminal (RFC 4254, section 6.2).
type ptyRequest struct {
	Term                         string
	Columns, Rows, Width, Height uint32
	Modes                        string
}

// resize gives the terminal, or the one that is to come, a new size.
func (c *session) resize(w windowSize) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cmd != nil && c.term != nil {
		login.SetSize(c.term, w.size())
	} else if c.pty != nil {
		c.pty.Columns, c.pty.Rows = w.Columns, w.Rows
	}
}

// startOnTerminal starts cmd on a terminal. exit is closed at the command's end.
func (c *session) startOnTerminal(cmd *exec.Cmd, pumps *sync.WaitGroup, exit <-chan struct{}) error {
	c.mu.Lock()
	p := *c.pty
	c.mu.Unlock()
	term, tty, err := login.OpenTerminal(os.Getuid(), windowSize{Columns: p.Columns, Rows: p.Rows}.size())
	if err != nil {
		return err
	}
	defer tty.Close()
	setModes(tty, p.Modes)
	extra := []string{"TERM=" + p.Term}
	if name := login.TerminalName(term); name != "" {
		extra = append(extra, "SSH_TTY="+name)
	}
	cmd.Env = login.Merge(cmd.Env, extra)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr.Setctty = true
	if err := c.begin(cmd, term); err != nil {
		term.Close()
		return err
	}
	go c.typeInto(term)
	go func() {
		<-exit
		term.SetReadDeadline(time.Now().Add(quiet))
	}()
	pumps.Go(func() {
		show(c.ch, term)
		term.Close()
	})
	return nil
}

// typeInto has the client's input typed, and the end of it as Ctrl+D.
func (c *session) typeInto(term *os.File) {
	buf, last := make([]byte, maxTyping), byte('\n')
	for {
		n, err := c.ch.Read(buf)
		if n > 0 {
			if _, err := term.Write(buf[:n]); err != nil {
				return
			}
			last = buf[n-1]
		}
		if err != nil {
			login.TypeEOF(term, last)
			return
		}
	}
}

// show sends what is written to the terminal, until its command has ended and it is quiet for a while, or nobody has it
// any more.
func show(to io.Writer, term *os.File) {
	buf := make([]byte, 32<<10)
	for late := false; ; {
		n, err := term.Read(buf)
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
			late = false
		}
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && !late: // there may be more: the client may have been slow
			late = true
			term.SetReadDeadline(time.Now().Add(quiet))
		case err != nil:
			return
		}
	}
}

// setModes sets what the client says of its own terminal (RFC 4254, section 8).
func setModes(tty *os.File, modes string) {
	t, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		return
	}
	for b := []byte(modes); len(b) >= 5 && b[0] != 0 && b[0] < 160; b = b[5:] {
		op, value := b[0], binary.BigEndian.Uint32(b[1:])
		if i, ok := characters[op]; ok {
			t.Cc[i] = byte(value) // 255 is none
			if value == 255 {
				t.Cc[i] = 0
			}
			continue
		}
		m, ok := flags[op]
		if !ok {
			continue
		}
		word := []*uint32{&t.Iflag, &t.Lflag, &t.Oflag, &t.Cflag}[m.word]
		if *word &^= m.bit; value != 0 {
			*word |= m.bit
		}
	}
	unix.IoctlSetTermios(int(tty.Fd()), unix.TCSETS, t)
}

// characters are the special characters, by their opcodes.
var characters = map[byte]int{1: unix.VINTR, 2: unix.VQUIT, 3: unix.VERASE, 4: unix.VKILL, 5: unix.VEOF, 6: unix.VEOL, 7: unix.VEOL2,
	8: unix.VSTART, 9: unix.VSTOP, 10: unix.VSUSP, 12: unix.VREPRINT, 13: unix.VWERASE, 14: unix.VLNEXT, 18: unix.VDISCARD}

// mode is a flag of a terminal's, in its input (0), local (1), output (2) or control (3) modes.
type mode struct {
	word int
	bit  uint32
}

// flags are the flags, by their opcodes.
var flags = map[byte]mode{30: {0, unix.IGNPAR}, 31: {0, unix.PARMRK}, 32: {0, unix.INPCK}, 33: {0, unix.ISTRIP}, 34: {0, unix.INLCR},
	35: {0, unix.IGNCR}, 36: {0, unix.ICRNL}, 37: {0, unix.IUCLC}, 38: {0, unix.IXON}, 39: {0, unix.IXANY}, 40: {0, unix.IXOFF},
	41: {0, unix.IMAXBEL}, 42: {0, unix.IUTF8},
	50: {1, unix.ISIG}, 51: {1, unix.ICANON}, 52: {1, unix.XCASE}, 53: {1, unix.ECHO}, 54: {1, unix.ECHOE}, 55: {1, unix.ECHOK},
	56: {1, unix.ECHONL}, 57: {1, unix.NOFLSH}, 58: {1, unix.TOSTOP}, 59: {1, unix.IEXTEN}, 60: {1, unix.ECHOCTL}, 61: {1, unix.ECHOKE},
	62: {1, unix.PENDIN},
	70: {2, unix.OPOST}, 71: {2, unix.OLCUC}, 72: {2, unix.ONLCR}, 73: {2, unix.OCRNL}, 74: {2, unix.ONOCR}, 75: {2, unix.ONLRET},
	92: {3, unix.PARENB}, 93: {3, unix.PARODD}}
