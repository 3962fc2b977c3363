package vm

import (
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"noid/internal/untrusted"
	"noid/internal/vmm"
)

const (
	// touchedFile is in the directory of a checkpoint or template that was restored: what a guest that goes on from there
	// touches of its memory first, a vmm.Touched. It is a hint, and no part of the checkpoint: it has no sum, and may be
	// deleted.
	touchedFile = "touched"
	// restoredFile is a link in a VM's directory, to the directory that it was restored from, as seen from the home: one
	// without touchedFile. It is there until the VM's first command has ended.
	restoredFile = "restored"
)

// touched returns what a guest of r will touch of its memory first, nil if that is not known.
func (r *restoration) touched() vmm.Touched {
	f, err := untrusted.Open(r.dir, touchedFile, unix.O_RDONLY)
	if err != nil {
		return nil
	}
	defer f.Close()
	data, _ := io.ReadAll(io.LimitReader(f, vmm.TouchedLength(r.c.Machine.MemMiB)))
	return data
}

// noteRestored has the first command in the new VM note what it touches, if that is not known.
func (r *restoration) noteRestored() {
	dir, err := filepath.Rel(r.Home.Dir(), r.dir)
	whole := r.c.Memory && !r.c.Packed // what comes out of a pack is in the page cache anyway
	if err == nil && whole && filepath.Dir(r.dir) != r.Home.StagingRoot() && !exists(filepath.Join(r.dir, touchedFile)) {
		os.Symlink(dir, r.new.file(restoredFile))
	}
}

// noteTouched keeps what the guest has touched of its memory since it was restored, after its first command. Failing is
// no failure.
func (s *session) noteTouched() {
	from, err := os.Readlink(s.file(restoredFile))
	if err != nil || os.Remove(s.file(restoredFile)) != nil || !filepath.IsLocal(from) {
		return
	}
	from = filepath.Join(s.Home.Dir(), from)
	memory := filepath.Join(from, vmm.MemorySnap)
	if s.driver.Traits().MemoryFile {
		memory = s.driver.MemorySource(s.dir)
	}
	info, err := os.Lstat(memory)
	if err != nil {
		return
	}
	touched, err := vmm.FindTouched(s.vm.Process, info)
	if err != nil {
		return
	}
	// Nobody waits for the disk: half a note does no harm either.
	if f, err := os.OpenFile(filepath.Join(from, touchedFile), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o400); err == nil {
		f.Write(touched)
		f.Close()
	}
}
