package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/network/address"
)

const (
	maxDoors = 32 // of which there are at once, and who waits at them
	// comeWait is how long who has come to a door waits for the host to take him.
	comeWait = 30 * time.Second
	// procWait is between two tries to open the list of mounts, which a booting guest may not have yet.
	procWait = time.Second
)

// doors are unix sockets in the guest that lead to sockets of the host. The host has a connection for them: on it come
// lines, each a JSON array of all paths that there are to be, and go lines, each an address.RelayCome. The host takes
// who has come by another connection. When the first connection ends, so do the doors.
type doors struct {
	mu      sync.Mutex
	host    net.Conn // the connection that there was last
	wanted  []string
	open    map[string]*door
	waiting map[uint64]*net.UnixConn
	last    uint64
}

// door is one of them.
type door struct {
	*net.UnixListener
	dev, inode uint64
}

// serve has the doors be as a connection says, until it ends. It replaces the connection before.
func (d *doors) serve(conn *net.TCPConn) {
	conn.SetKeepAlive(false) // a guest that stands still wakes nobody; a host that is gone answers the next word by a reset
	d.mu.Lock()
	if d.host != nil {
		reset(d.host)
	}
	d.host = conn
	d.set(nil)
	d.mu.Unlock()
	stop := make(chan struct{})
	go d.watch(conn, stop)
	for in := json.NewDecoder(conn); ; {
		var paths []string
		err := in.Decode(&paths)
		if err == nil && len(paths) > maxDoors {
			err = errors.New("too many")
		}
		d.mu.Lock()
		if err != nil || d.host != conn {
			break
		}
		d.set(paths)
		d.mu.Unlock()
	}
	close(stop)
	reset(conn)
	if d.host == conn {
		d.host = nil
		d.set(nil)
	}
	d.mu.Unlock()
}

// set opens the doors that are missing and closes those that are too many. d.mu is held.
func (d *doors) set(paths []string) {
	d.wanted = paths
	for path, o := range d.open {
		if !slices.Contains(paths, path) {
			o.Close()
			delete(d.open, path)
		}
	}
	for _, path := range paths {
		if o := d.open[path]; o != nil {
			if o.isAt(path) {
				continue
			}
			o.SetUnlinkOnClose(false) // what is there now is another's
			o.Close()
			delete(d.open, path)
		}
		o, err := openDoor(path)
		if err != nil {
			d.say(address.RelayCome{Path: path, Error: err.Error()})
			continue
		}
		if d.open == nil {
			d.open = map[string]*door{}
		}
		d.open[path] = o
		go d.accept(o, path)
	}
}

// openDoor listens at path, for every process of the guest. It replaces a socket that nobody listens at.
func openDoor(path string) (*door, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
			c.Close()
		} else if errors.Is(err, unix.ECONNREFUSED) {
			os.Remove(path)
		}
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := errors.Join(os.Chmod(path, 0o666), unix.Lstat(path, &st)); err != nil {
		l.Close()
		return nil, err
	}
	return &door{l, st.Dev, st.Ino}, nil
}

// isAt reports whether path still leads to o: an init mounts over directories.
func (o *door) isAt(path string) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil && st.Dev == o.dev && st.Ino == o.inode
}

// accept tells the host of who comes, until o is closed.
func (d *doors) accept(o *door, path string) {
	defer logPanic()
	for {
		c, err := o.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		} else if err != nil {
			time.Sleep(50 * time.Millisecond)
			continue
		}
		d.mu.Lock()
		if d.open[path] != o || len(d.waiting) >= maxDoors {
			c.Close()
		} else {
			d.wait(c, path)
		}
		d.mu.Unlock()
	}
}

// wait has c be taken, or closed after a while. d.mu is held.
func (d *doors) wait(c *net.UnixConn, path string) {
	d.last++
	number := d.last
	if d.waiting == nil {
		d.waiting = map[uint64]*net.UnixConn{}
	}
	d.waiting[number] = c
	d.say(address.RelayCome{Path: path, Number: number})
	time.AfterFunc(comeWait, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.waiting[number] != nil {
			delete(d.waiting, number)
			c.Close()
		}
	})
}

// take returns who has come with that number.
func (d *doors) take(text string) (stream, error) {
	number, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.waiting[number]
	if c == nil {
		return nil, fmt.Errorf("nobody has number %d", number)
	}
	delete(d.waiting, number)
	return c, nil
}

// say tells the host. One that does not read is gone. d.mu is held.
func (d *doors) say(c address.RelayCome) {
	if d.host == nil {
		return
	}
	d.host.SetWriteDeadline(time.Now().Add(relayWait))
	if json.NewEncoder(d.host).Encode(c) != nil {
		reset(d.host)
	}
}

// watch opens doors again that an init has mounted over, until stop is closed.
func (d *doors) watch(conn net.Conn, stop chan struct{}) {
	defer logPanic()
	var mounts *os.File
	for mounts == nil {
		select {
		case <-stop:
			return
		case <-time.After(procWait):
		}
		mounts, _ = os.Open("/proc/self/mountinfo")
	}
	defer mounts.Close()
	for {
		select {
		case <-stop:
			return
		default:
		}
		d.mu.Lock()
		if d.host == conn {
			d.set(d.wanted)
		}
		d.mu.Unlock()
		// mounts_poll in the kernel's fs/namespace.c; the limit is for stop.
		unix.Poll([]unix.PollFd{{Fd: int32(mounts.Fd()), Events: unix.POLLPRI}}, int((time.Minute).Milliseconds()))
	}
}
