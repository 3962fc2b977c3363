package login

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"noid/internal/link/wire"
)

var privatePts = &Private{FSType: "devpts", Options: []string{"ptmxmode=0666"}}

// OpenTerminal makes a pseudo-terminal: this process's side of it, and the descriptor for the command. Where the guest has
// no devpts it is one of this process's own; programs then do not find its name, but work.
func OpenTerminal(uid int, size wire.Size) (term, tty *os.File, err error) {
	const flags = unix.O_RDWR | unix.O_NOCTTY | unix.O_NONBLOCK | unix.O_CLOEXEC
	fd, err := unix.Open("/dev/pts/ptmx", flags, 0)
	if err != nil {
		fd, err = unix.Open("/dev/ptmx", flags, 0)
	}
	if err != nil {
		fd, err = privatePts.Open("ptmx", flags)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("opening a terminal: %w", err)
	}
	term = os.NewFile(uintptr(fd), "terminal")
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		term.Close()
		return nil, nil, fmt.Errorf("opening a terminal: %w", err)
	}
	// By the number of its ioctl and not by name (Linux 4.13): the name may be hidden, or another instance's.
	const open = unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC
	peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, open)
	slave := int(peer)
	if errno != 0 {
		var n int
		if n, err = unix.IoctlGetInt(fd, unix.TIOCGPTN); err == nil {
			slave, err = unix.Open("/dev/pts/"+strconv.Itoa(n), open, 0)
		}
	}
	if err != nil {
		term.Close()
		return nil, nil, fmt.Errorf("opening a terminal: %w", err)
	}
	unix.Fchown(slave, uid, -1)
	unix.Fchmod(slave, 0o620)
	SetSize(term, size)
	return term, os.NewFile(uintptr(slave), "terminal"), nil
}

// KeepTerminals makes terminals for a guest that has none, while this process is root: what another user may not.
func KeepTerminals() {
	for _, path := range []string{"/dev/pts/ptmx", "/dev/ptmx"} {
		if unix.Access(path, unix.W_OK) == nil {
			return
		}
	}
	if fd, err := privatePts.Open("ptmx", unix.O_RDWR|unix.O_NOCTTY); err == nil {
		unix.Close(fd)
	}
}

// TerminalName returns the name of the command's side, "" if it has none in this guest.
func TerminalName(term *os.File) (name string) {
	Control(term, func(fd int) {
		if n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN); err == nil {
			name = "/dev/pts/" + strconv.Itoa(n)
		}
	})
	if unix.Access(name, unix.R_OK) != nil {
		return ""
	}
	return name
}

// Control runs f on file's descriptor, if there is one, without taking it from the runtime's poller.
func Control(file *os.File, f func(fd int)) {
	if raw, err := file.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { f(int(fd)) })
	}
}

func SetSize(term *os.File, size wire.Size) {
	Control(term, func(fd int) {
		unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: size.Rows, Col: size.Cols})
	})
}

// Foreground returns the terminal's foreground process group, 0 if there is none.
func Foreground(term *os.File) (group int) {
	Control(term, func(fd int) {
		if g, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP); err == nil {
			group = g
		}
	})
	return group
}

// TypeEOF does what Ctrl+D does. After an unfinished line the first only hands that line over.
func TypeEOF(term *os.File, last byte) {
	key, times := byte(4), 1
	Control(term, func(fd int) {
		t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil || t.Lflag&unix.ICANON == 0 {
			return
		}
		key = t.Cc[unix.VEOF]
		if last != '\n' && last != '\r' {
			times = 2
		}
	})
	for range times {
		term.Write([]byte{key})
	}
}
