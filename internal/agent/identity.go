package agent

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/agent/login"
)

const (
	syncWait = time.Second // before a changed file is written to the disk: the guest has better to do at first
	// nameWait is how long an init may take from reading /etc/hostname to setting what it read, in a guest that is
	// emulated on a busy host.
	nameWait    = 30 * time.Second
	maxHostname = 64      // bytes (sethostname(2))
	maxBlank    = 4 << 10 // bytes
	noHostname  = "(none)"
)

// setIdentity gives a clone a name and a machine-id of its own, as far as the root below dir lets it. The file of the
// name comes first: an init that reads it from now on sets the same name. One that has read it before sets another, a
// moment later.
func (s *Server) setIdentity(dir, name string) {
	etc := filepath.Join(dir, "etc")
	if s.Init { // who else would keep them
		os.Mkdir(etc, 0o755)
	}
	if name = cut(name, maxHostname); name != "" {
		path := filepath.Join(etc, "hostname")
		old := readName(path)
		rewrite(path, name+"\n", login.IsDir(etc))
		if dir == "/" {
			unix.Sethostname([]byte(name))
			s.keepName(name, old)
		}
	}
	var id [16]byte
	rand.Read(id[:])
	// What RFC 4122 asks of a random UUID, as systemd makes its machine-id.
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	text := hex.EncodeToString(id[:]) + "\n"
	rewrite(filepath.Join(etc, "machine-id"), text, login.IsDir(etc))
	rewrite(filepath.Join(dir, "var/lib/dbus/machine-id"), text, false) // often a link to the other, which stays one
}

// readName returns the name in a file such as /etc/hostname (hostname(5)), or "".
func readName(path string) string {
	text, _ := login.ReadBounded(path, 4<<10)
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			return cut(line, maxHostname)
		}
	}
	return ""
}

func hostname() string {
	var u unix.Utsname
	unix.Uname(&u)
	return unix.ByteSliceToString(u.Nodename[:])
}

// nameFromFile gives a guest that has just booted the name that it had, where no init does.
func nameFromFile() {
	if name := readName("/etc/hostname"); name != "" && hostname() == noHostname {
		unix.Sethostname([]byte(name))
	}
}

// keepName sets name again, for nameWait, whenever the guest gets one that its init read before. Any other is what
// somebody wants.
func (s *Server) keepName(name, old string) {
	s.mu.Lock()
	s.name = name
	if old != "" && !slices.Contains(s.names, old) {
		s.names = append(s.names, old)
	}
	s.mu.Unlock()
	f, err := os.Open("/proc/sys/kernel/hostname")
	if err != nil {
		return
	}
	go func() {
		defer logPanic()
		defer f.Close()
		for end := time.Now().Add(nameWait); s.correctName(name) && time.Now().Before(end); {
			// proc_sys_poll in the kernel's fs/proc/proc_sysctl.c
			changed := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLPRI}}
			unix.Poll(changed, int(time.Until(end).Milliseconds())+1)
		}
	}()
}

// correctName sets name if the guest has a stale one, and reports whether name is still the one to have.
func (s *Server) correctName(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.name != name {
		return false
	}
	if s.isStale(hostname()) {
		unix.Sethostname([]byte(name))
	}
	return true
}

// isStale reports whether now is a name that was in /etc/hostname before, or the end of the one to have: who reads an
// old and shorter line, and then on, finds that behind it.
func (s *Server) isStale(now string) bool {
	return now != s.name && now != "" && (slices.Contains(s.names, now) || strings.HasSuffix(s.name, now))
}

// rewrite gives a regular file other content, a line. With create it makes one that is not there. The file is
// overwritten and not replaced. It keeps its owner, labels and links; and a clone waits for this, and a rename would be
// a third of what an emulated guest does until its first answer. A read(2) finds the old line or the new one, and
// perhaps empty lines or zero bytes behind it: they make up for what is shorter.
func rewrite(path, content string, create bool) error {
	var st unix.Stat_t
	flags := os.O_WRONLY | unix.O_NOFOLLOW
	switch err := unix.Lstat(path, &st); {
	case err == unix.ENOENT && create:
		flags |= os.O_CREATE | os.O_EXCL
	case err != nil:
		return err
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return fmt.Errorf("%s: not a regular file", path)
	}
	f, err := os.OpenFile(path, flags, 0o444)
	if err != nil {
		return err
	}
	length := int64(len(content))
	if grow := length - st.Size; grow > 0 {
		_, err = f.WriteAt(bytes.Repeat([]byte{'\n'}, int(grow)), st.Size)
	}
	if err == nil {
		_, err = f.WriteAt([]byte(content+strings.Repeat("\n", int(min(max(st.Size-length, 0), maxBlank)))), 0)
	}
	if err == nil && length < st.Size {
		err = f.Truncate(length)
	}
	// A crash could leave the new length and the old content, for as long as the kernel writes lengths before contents:
	// 5 and 30 s after the change.
	time.AfterFunc(syncWait, func() { defer logPanic(); writeBack(path) })
	return errors.Join(err, f.Close())
}

// writeBack starts to write a file's content to the disk, and does not wait for that: on a broken disk fsync(2) can
// take for ever. It opens the file for reading: one that is open for writing keeps its file system from becoming
// read-only.
func writeBack(path string) {
	if f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0); err == nil {
		unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
		f.Close()
	}
}
