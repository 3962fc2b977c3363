package vmm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Dial connects to the unix socket dir/name. A socket's path ends at 107 bytes and a VM's need not, so it goes through
// a descriptor; that also pins what was looked at: a link that a guest put there after taking its VMM over is not
// followed.
func Dial(ctx context.Context, dir, name string) (*net.UnixConn, error) {
	path := filepath.Join(dir, name)
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "connect", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return nil, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return nil, &os.PathError{Op: "connect", Path: path, Err: unix.ENOTSOCK}
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", "/proc/self/fd/"+strconv.Itoa(fd))
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", path, err)
	}
	return c.(*net.UnixConn), nil
}

// Listen makes a socket in the current directory that answers from its first moment on. The caller removes it.
func Listen(name string) (*net.UnixListener, error) {
	tmp := name + ".new"
	os.Remove(tmp)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: tmp, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(tmp, 0o600), os.Rename(tmp, name)); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Peer returns the process at the other end of a unix socket: at the end that was dialled, the one that listens.
func Peer(conn *net.UnixConn) (*unix.Ucred, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var peer *unix.Ucred
	var peerErr error
	err = raw.Control(func(fd uintptr) { peer, peerErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	return peer, errors.Join(err, peerErr)
}

// Trusts accepts this user's processes and root's, but not the VMM with that pid, which a hostile guest may have taken
// over.
func Trusts(conn *net.UnixConn, vmm int) bool {
	peer, err := Peer(conn)
	return err == nil && (peer.Uid == uint32(os.Geteuid()) || peer.Uid == 0) && int(peer.Pid) != vmm
}

// Absent reports whether err, of Dial, says that nobody listens.
func Absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED)
}
