package tarfs

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// descriptor returns another handle of the open file of this process that path names, such as /dev/stdin or /dev/fd/3,
// and nil for every other path. To open the path instead would begin at the start of a file, truncate it, or fail for a
// socket.
func descriptor(path string) *os.File {
	for range 40 { // as many links as the kernel follows
		dir, err := filepath.EvalSymlinks(filepath.Dir(path))
		if err != nil {
			return nil
		}
		name := filepath.Base(path)
		if dir == fmt.Sprintf("/proc/%d/fd", os.Getpid()) {
			n, err := strconv.Atoi(name)
			if err != nil {
				return nil
			}
			fd, err := unix.FcntlInt(uintptr(n), unix.F_DUPFD_CLOEXEC, 3)
			if err != nil {
				return nil
			}
			return os.NewFile(uintptr(fd), path)
		}
		target, err := os.Readlink(filepath.Join(dir, name))
		if err != nil {
			return nil
		}
		if path = target; !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
	}
	return nil
}
