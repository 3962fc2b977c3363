package checkpoint

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/proc"
	"noid/internal/storage"
	"noid/internal/vmm"
)

// wholeFile is a link in the directory of a VM's checkpoints, beside the pack. Its target is a file there, called
// "whole.ID.TIME.BOOT", with the whole memory of the packed checkpoint ID: a VMM that maps memory.snap and never writes to
// it can share that with those of other clones, and the memory of a packed checkpoint is in no other file. TIME is the
// file's time of modification in nanoseconds, BOOT the host's boot in which it was filled: it was not synced, and is
// nothing to rely on after another one. There is one for all checkpoints of a VM, that of the last that was restored. It
// is there for speed alone.
const wholeFile = "whole"

// wholeName is the name of the file of that time with the whole memory of checkpoint id.
func wholeName(id string, modified time.Time) string {
	return fmt.Sprintf("%s.%s.%d.%s", wholeFile, id, modified.UnixNano(), proc.BootID())
}

// whole returns the path of the file that wholeFile names in dir, and whose memory it is: a checkpoint's id.
func whole(dir string) (path, id string, ok bool) {
	name, err := os.Readlink(filepath.Join(dir, wholeFile))
	words := strings.Split(name, ".")
	if err != nil || len(words) != 4 || words[0] != wholeFile || !filepath.IsLocal(name) || filepath.Base(name) != name {
		return "", "", false
	}
	return filepath.Join(dir, name), words[1], true
}

// LinkWhole makes path a name of the file that has the whole memory of c, which is in dir. It reports whether there is
// one. Nobody may write to it.
func (c Record) LinkWhole(dir, path string) bool {
	file, id, ok := whole(filepath.Dir(dir))
	if !ok || id != c.ID {
		return false
	}
	info, err := os.Lstat(file)
	return err == nil && info.Mode().IsRegular() && info.Size() == c.Files[vmm.MemorySnap].Length &&
		filepath.Base(file) == wholeName(c.ID, info.ModTime()) && os.Link(file, path) == nil
}

// checkWhole drops the file that has the whole memory of c when that is not what was saved: the next restore fills it
// anew from what is.
func (c Record) checkWhole(ctx context.Context, dir string) error {
	want := c.Files[vmm.MemorySnap]
	file, id, ok := whole(filepath.Dir(dir))
	if !ok || id != c.ID || want.Sum == (storage.Sum{}) {
		return nil
	}
	hash, err := storage.HashFile(ctx, file, want.ChunkBytes())
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil || hash.Root() != want.Sum {
		DropWhole(filepath.Dir(dir))
	}
	return nil
}

// keeping has one KeepWhole end before the next: two clones of one checkpoint may come at once.
var keeping sync.Mutex

// KeepWhole has LinkWhole find the file path, which Fill has filled with the memory of c, in place of that of any other
// checkpoint of the VM. The VM's lock is held. Failing is no failure.
func (c Record) KeepWhole(dir, path string) {
	keeping.Lock()
	defer keeping.Unlock()
	parent := filepath.Dir(dir)
	DropWhole(parent)
	info, err := os.Lstat(path)
	if err != nil || os.Chmod(path, 0o400) != nil {
		return
	}
	link, name := filepath.Join(parent, wholeFile), wholeName(c.ID, info.ModTime())
	if os.Symlink(name, link) != nil {
		return
	}
	os.Link(path, filepath.Join(parent, name))
	if now, _ := os.Readlink(link); now != name { // it was dropped meanwhile
		os.Remove(filepath.Join(parent, name))
	}
}

// DropWhole removes what KeepWhole has made in dir, the directory of a VM's checkpoints, and returns how many bytes of
// disk no clone has any more. It needs no lock.
func DropWhole(dir string) (freed int64) {
	file, _, ok := whole(dir)
	os.Remove(filepath.Join(dir, wholeFile)) // first: see KeepWhole
	if ok {
		var st unix.Stat_t
		if unix.Lstat(file, &st) == nil && st.Nlink == 1 {
			freed = st.Blocks * 512
		}
		os.Remove(file)
	}
	return freed
}

// dropStrays removes those of files, which are in dir, that a DropWhole which was killed has left. The VM's lock is held.
func dropStrays(dir string, files []string) {
	file, _, _ := whole(dir)
	for _, name := range files {
		if strings.HasPrefix(name, wholeFile+".") && filepath.Join(dir, name) != file {
			os.Remove(filepath.Join(dir, name))
		}
	}
}
