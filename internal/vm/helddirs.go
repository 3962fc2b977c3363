package vm

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
)

// heldDirs are the directories of VMs that clients of their agents hold open, to find a VM that is renamed: each
// directory once, until the manager is closed or the directory is gone.
type heldDirs struct {
	mu    sync.Mutex
	files []*os.File
}

// hold opens dir, or returns nil. What it returns is closed by close; with no h, when nobody knows it any more.
func (h *heldDirs) hold(dir string) *os.File {
	f, err := os.Open(dir)
	if err != nil {
		return nil
	}
	if h == nil {
		return f
	}
	info, err := f.Stat()
	h.mu.Lock()
	defer h.mu.Unlock()
	kept := h.files[:0]
	var same *os.File
	for _, other := range h.files {
		there, statErr := other.Stat()
		if statErr == nil && isRemoved(there) {
			other.Close()
			continue
		}
		kept = append(kept, other)
		if err == nil && statErr == nil && os.SameFile(info, there) {
			same = other
		}
	}
	clear(h.files[len(kept):])
	h.files = kept
	if same != nil {
		f.Close()
		return same
	}
	h.files = append(h.files, f)
	return f
}

// isRemoved reports whether a directory that is open has been removed: nothing in it can be reached.
func isRemoved(info os.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Nlink == 0
}

func (h *heldDirs) close() {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, f := range h.files {
		f.Close()
	}
	h.files = nil
}

// inside has connect connect in the directory f, by a path that leads there while it runs, whoever closes f.
func inside(f *os.File, connect func(dir string) (net.Conn, error)) (conn net.Conn, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	controlErr := raw.Control(func(fd uintptr) { conn, err = connect(fmt.Sprintf("/proc/self/fd/%d", fd)) })
	return conn, errors.Join(controlErr, err)
}
