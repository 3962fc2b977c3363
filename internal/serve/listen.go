package serve

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/storage"
)

// SocketFile is the default socket, in the home.
const SocketFile = "serve.sock"

// ListenUnix listens on the unix socket path, which only this user may connect to. A socket that nobody listens on any
// more is taken over; one that answers is errs.ErrBusy.
func ListenUnix(path string) (net.Listener, error) {
	if len(path) > 107 {
		return nil, errs.New(errs.ErrUsage, "socket %q: its path is longer than 107 bytes", path).Hint("choose a shorter path: --socket")
	}
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, errs.New(errs.ErrBusy, "another 'noid serve' listens on %s", path).Hint("use that one, or name another: --socket")
	}
	l, err := listenLocked(path)
	if err != nil {
		lock.Close()
		return nil, err
	}
	return &unixListener{l, lock}, nil
}

func listenLocked(path string) (*net.UnixListener, error) {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&fs.ModeSocket == 0 {
			return nil, errs.New(errs.ErrExists, "%s is there, and is no socket", path).Hint("choose another path, or remove it")
		}
		if conn, err := net.DialTimeout("unix", path, time.Second); err == nil { // of one that keeps no lock
			conn.Close()
			return nil, errs.New(errs.ErrBusy, "another program listens on %s", path).Hint("choose another path: --socket")
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	old := unix.Umask(0o177) // nothing else runs yet
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	unix.Umask(old)
	return l, err
}

// unixListener takes connections of this user and root alone.
type unixListener struct {
	*net.UnixListener
	lock *os.File // nil for a socket of systemd's
}

// Accept implements net.Listener.
func (l *unixListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if cred, err := peer(conn); err == nil && (cred.Uid == 0 || int(cred.Uid) == os.Geteuid()) {
			return conn, nil
		}
		conn.Close()
	}
}

// Close implements net.Listener. The socket is removed; its lock stays as a file, which a lock must.
func (l *unixListener) Close() error {
	err := l.UnixListener.Close()
	if l.lock != nil {
		l.lock.Close()
	}
	return err
}

func peer(conn *net.UnixConn) (cred *unix.Ucred, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	controlErr := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	return cred, errors.Join(controlErr, err)
}

// clientOf is who is at the other end of conn: a process, or an address.
func clientOf(conn net.Conn) string {
	for {
		switch c := conn.(type) {
		case guardedConn:
			conn = c.Conn
			continue
		case *net.UnixConn:
			if cred, err := peer(c); err == nil {
				return "pid " + strconv.Itoa(int(cred.Pid))
			}
		case *net.TCPConn:
			host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			return host
		}
		return ""
	}
}

// ListenTCP listens on address, ADDRESS:PORT of this machine's loopback.
func ListenTCP(address string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err == nil && host == "localhost" {
		host = "127.0.0.1"
	}
	addr, parseErr := netip.ParseAddr(host)
	if _, portErr := strconv.ParseUint(port, 10, 16); err == nil && portErr != nil {
		return nil, errs.New(errs.ErrUsage, "%q: %.20q is no port", address, port).Hint("write a number of at most 65535, or 0 for any port that is free")
	}
	if err != nil || parseErr != nil || !addr.IsLoopback() || addr.Zone() != "" {
		return nil, errs.New(errs.ErrUsage, "%q is no port of this machine's loopback", address).Hint("write 127.0.0.1:PORT or [::1]:PORT; noid serves no other machine: ssh -L leads a port here")
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if errors.Is(err, syscall.EADDRINUSE) {
		err = errs.New(errs.ErrBusy, "%s is taken", address).Hint("choose another port, or 0 for any that is free")
	}
	return l, err
}

// Activated returns the socket that systemd has passed to this process (sd_listen_fds(3)), or nil.
func Activated() (net.Listener, error) {
	if pid, err := strconv.Atoi(os.Getenv("LISTEN_PID")); err != nil || pid != os.Getpid() {
		return nil, nil
	}
	n := os.Getenv("LISTEN_FDS")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} { // what noid starts is not meant
		os.Unsetenv(name)
	}
	if n != "1" {
		return nil, errs.New(errs.ErrUsage, "systemd has passed %q sockets, and noid serve takes one", n).Hint("write one ListenStream= in the .socket unit")
	}
	unix.CloseOnExec(3)
	f := os.NewFile(3, "socket")
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, errs.New(errs.ErrUsage, "the socket of systemd does not listen: %v", err).Hint("write ListenStream= in the .socket unit")
	}
	switch l := l.(type) {
	case *net.UnixListener:
		l.SetUnlinkOnClose(false)
		return &unixListener{l, nil}, nil
	case *net.TCPListener:
		if l.Addr().(*net.TCPAddr).IP.IsLoopback() {
			return l, nil
		}
	}
	l.Close()
	return nil, errs.New(errs.ErrUsage, "the socket of systemd is neither a unix socket nor one of this machine's loopback").Hint("ListenStream=%t/noid.sock")
}

// minToken is how long a token is at least, in characters.
const minToken = 32

// Token returns the token in the file path, and makes it where there is none. A file that others may read is refused.
func Token(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if err = storage.WriteOnce(path, 0o600, func(f *os.File) error { _, err := f.WriteString(rand.Text() + rand.Text() + "\n"); return err }); err != nil {
			return "", err
		}
		f, err = os.Open(path)
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	return readToken(f, path)
}

func readToken(f *os.File, path string) (string, error) {
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 || ok && int(st.Uid) != os.Geteuid() {
		return "", errs.New(errs.ErrUsage, "%s is no file of this user's that others cannot read", path).Hint("chmod 600 " + path)
	}
	data := make([]byte, 4096)
	n, _ := f.Read(data)
	token := string(bytes.TrimSpace(data[:n]))
	if len(token) < minToken || strings.ContainsFunc(token, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune(`,;"()`, c) }) {
		return "", errs.New(errs.ErrUsage, "%s has no token", path).Hint(fmt.Sprintf("a token is one word of %d characters or more; remove the file, and noid makes one", minToken))
	}
	return token, nil
}
