package boot

import (
	"bufio"
	"fmt"
	"io"

	"noid/internal/kmod"
)

// Types and permissions of cpio entries: inode(7).
const (
	modeDir  = 0o040755
	modeFile = 0o100644
	modeExec = 0o100755
	modeChar = 0o020600
)

// writeInitramfs writes an initramfs: an uncompressed newc cpio archive with init as /init, agent as /agent unless it
// is empty, the modules in /modules in their order, and the archive that onDemand makes as /modules.tar unless it is
// empty. The same input makes the same bytes. The caller checks the modules' names: one with a slash or a NUL would be
// another file.
func writeInitramfs(w io.Writer, init, agent []byte, modules []kmod.Module, onDemand []byte) error {
	a := &cpioWriter{Writer: bufio.NewWriter(w)}
	for _, dir := range []string{"dev", "modules", "newroot", "proc", "sys"} {
		a.entry(dir, modeDir, 0, 0, nil)
	}
	// Without it the kernel starts init with no stdin, stdout and stderr: a failure to mount /dev would be mute.
	a.entry("dev/console", modeChar, 5, 1, nil)
	a.entry("init", modeExec, 0, 0, init)
	if len(agent) > 0 {
		a.entry("agent", modeExec, 0, 0, agent)
	}
	for i, m := range modules {
		a.entry(fmt.Sprintf("modules/%03d-%s.ko", i, m.Name), modeFile, 0, 0, m.Data)
	}
	if len(onDemand) > 0 {
		a.entry("modules.tar", modeFile, 0, 0, onDemand)
	}
	a.entry("TRAILER!!!", 0, 0, 0, nil)
	if err := a.Flush(); err != nil {
		return fmt.Errorf("writing the initramfs: %w", err)
	}
	return nil
}

// cpioWriter writes the format of Documentation/driver-api/early-userspace/buffer-format.rst. Flush returns the first
// error.
type cpioWriter struct {
	*bufio.Writer
	inode int
}

func (a *cpioWriter) entry(name string, mode, major, minor int, data []byte) {
	a.inode++
	// magic, ino, mode, uid, gid, nlink, mtime, filesize, dev major and minor, rdev major and minor, namesize,
	// check
	n, _ := fmt.Fprintf(a, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		a.inode, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name)+1, 0, name)
	a.pad(n)
	a.Write(data)
	a.pad(len(data))
}

// pad ends a part of n bytes at a multiple of four, where it began.
func (a *cpioWriter) pad(n int) { a.Write(make([]byte, -n&3)) }
