package boot

import (
	"bufio"
	"fmt"
	"io"
)

// Module is a kernel module as it goes into the initramfs.
type Module struct {
	Name string // without ".ko", such as "virtio_blk"
	Data []byte // the unpacked ELF object
}

// Types and permissions of cpio entries: inode(7).
const (
	modeDir  = 0o040755
	modeFile = 0o100644
	modeExec = 0o100755
	modeChar = 0o020600
)

// BuildInitramfs writes an initramfs: an uncompressed newc cpio archive with init as /init, agent as /agent unless it is
// empty, and the modules in /modules in their order. The same input makes the same bytes. What the modules' names hold is for
// the caller to vouch.
func BuildInitramfs(w io.Writer, init, agent []byte, modules []Module) error {
	a := &cpioWriter{w: bufio.NewWriter(w)}
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
	a.entry("TRAILER!!!", 0, 0, 0, nil)
	if a.err == nil {
		a.err = a.w.Flush()
	}
	if a.err != nil {
		return fmt.Errorf("writing the initramfs: %w", a.err)
	}
	return nil
}

// cpioWriter writes the format of Documentation/driver-api/early-userspace/buffer-format.rst. The first error stays.
type cpioWriter struct {
	w     *bufio.Writer
	inode int
	size  int64
	err   error
}

func (a *cpioWriter) entry(name string, mode, major, minor int, data []byte) {
	a.inode++
	// magic, ino, mode, uid, gid, nlink, mtime, filesize, dev major and minor, rdev major and minor, namesize, check
	a.write(fmt.Appendf(nil, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		a.inode, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name)+1, 0))
	a.write(append([]byte(name), 0))
	a.pad()
	a.write(data)
	a.pad()
}

func (a *cpioWriter) write(b []byte) {
	if a.err == nil {
		_, a.err = a.w.Write(b)
		a.size += int64(len(b))
	}
}

func (a *cpioWriter) pad() { a.write(make([]byte, -a.size&3)) }
