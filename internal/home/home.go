// Package home owns what noid keeps on disk: the names, the locks and the records of VMs.
//
// The manifests (vm.json, checkpoint.json) are the truth. The SQLite database beside them is an index that makes
// lists and searches quick. It corrects itself when it disagrees, and may be deleted at any time.
package home

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/manifest"
	"noid/internal/storage"
)

// Names in the home directory.
const (
	StorageDir = "storage"       // what can be large, so that it alone can be a mount point or a link to one
	ImagesDir  = "images"        // root filesystems, downloaded or built
	VolumeFile = "storage.btrfs" // a btrfs file system to be mounted on StorageDir, see package volume
	VolumeWork = ".volume"       // what package volume stages

	versionFile    = "version"     // format of the whole home: one decimal number and a newline
	configFile     = "config.toml" // the user's defaults; a file that people edit, so not in the database
	configLockFile = ".config.lock"
	indexFile      = "noid.db"     // SQLite makes noid.db-wal and noid.db-shm beside it
	vmsDir         = "vms"         // in storage: one directory a VM
	templatesDir   = "templates"   // in storage: guests right after their boot, for 'create'
	checkpointsDir = "checkpoints" // in storage: one directory a VM, in it one a checkpoint; outlives the VM
	stagingDir     = "staging"     // in storage: what is being made or removed, one directory each
	ProgramsDir    = "programs"    // the network helper, unpacked
	NetworksDir    = "networks"    // networks between VMs, one directory each
	SSHDir         = "ssh"         // what this host's ssh needs to reach guests
	kernelsDir     = "kernels"     // kernels and initramfs images, unpacked or built
	locksDir       = "locks"       // one file a name that a VM or checkpoints have, or that a command works on

	vmManifest = "vm.json"
)

// VolumeNames are the directories that noid makes in StorageDir, or in the volume that is mounted there.
var VolumeNames = []string{vmsDir, checkpointsDir, templatesDir, ImagesDir}

// homeFormat is the version of the layout that this package reads and writes.
const homeFormat = 1

// Home is an open noid home directory. Several goroutines, and several processes on the same directory, may use it.
type Home struct {
	dir  string
	made bool // it has a version file

	mu sync.Mutex // guards db
	db *sql.DB    // opened when first needed: most verbs never list
}

// DefaultDir is the home that is used when none is given: $NOID_HOME as an absolute path, or where that is not set or
// empty, ~/.noid. A ~ that no shell has expanded is errs.ErrUsage.
func DefaultDir() (string, error) {
	if dir := os.Getenv("NOID_HOME"); strings.HasPrefix(dir, "~") {
		return "", errs.New(errs.ErrUsage, "NOID_HOME is %q: a shell expands ~ only without quotes", dir).Hint("write $HOME, or ./~ for a directory of that name")
	} else if dir != "" {
		return filepath.Abs(dir)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", errs.New(errs.ErrHost, "finding the home directory: %w", err).Hint("set NOID_HOME to the directory that noid shall use")
	}
	return filepath.Join(home, ".noid"), nil
}

// Open is Look and Make.
func Open(dir string) (*Home, error) {
	h, err := Look(dir)
	if err == nil {
		err = h.Make()
	}
	if err != nil {
		return nil, err
	}
	return h, nil
}

// Look opens the home in dir. One that is not there is empty, and is not made. The mode of one that is there becomes
// 0700. errs.ErrHost is a home of a newer noid, a directory with other files, and one that cannot be written. A complete
// home on a read-only file system opens.
func Look(dir string) (*Home, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the noid home: %w", err)
	}
	h := &Home{dir: dir}
	if err := h.look(); err != nil {
		return nil, errs.New(errs.ErrHost, "opening the noid home %s: %w", dir, err)
	}
	return h, nil
}

func (h *Home) look() error {
	info, err := os.Stat(h.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, unix.ENOTDIR) || err == nil && !info.IsDir():
		return errs.WithHint(errors.New("it is not a directory"), "set NOID_HOME to a directory")
	case err != nil:
		return errs.WithHint(err, writableHint)
	}
	isNew, err := h.checkVersion()
	if err != nil {
		return err
	}
	if h.made = !isNew; isNew {
		return h.checkUnused()
	}
	return h.protect()
}

const writableHint = "set NOID_HOME to a directory that you can write"

// Made reports whether there is a home.
func (h *Home) Made() bool { return h.made }

// Make makes the home when it is not there, and what has been removed of it. Root makes nothing in another user's.
func (h *Home) Make() error {
	if err := CheckOwner(h.dir, false); err != nil {
		if h.made { // to move its storage
			return nil
		}
		return err
	}
	if err := h.makeDirs(); err != nil {
		return errs.New(errs.ErrHost, "making the noid home %s: %w", h.dir, err)
	}
	h.made = true
	return nil
}

func (h *Home) makeDirs() error {
	if user, err := os.UserHomeDir(); err == nil && filepath.Dir(h.dir) == filepath.Clean(user) {
		if _, err := os.Stat(user); errors.Is(err, fs.ErrNotExist) { // of a user who is to have none
			return errs.WithHint(err, writableHint)
		}
	}
	for _, dir := range []string{h.dir, h.VMsDir(), h.CheckpointsRoot(), h.StagingRoot(), h.TemplatesRoot(), h.KernelsDir(), h.ImagesDir(), h.LocksDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return errs.WithHint(err, writableHint)
		}
	}
	if h.made {
		return nil
	}
	if err := h.protect(); err != nil {
		return err
	}
	// Last: a home with a version file is complete.
	return storage.WriteFile(filepath.Join(h.dir, versionFile), fmt.Appendf(nil, "%d\n", homeFormat), 0o600)
}

// checkVersion reads the version file. There is none in a new home, and in one whose making was interrupted.
func (h *Home) checkVersion() (isNew bool, err error) {
	data, _, err := manifest.Read(filepath.Join(h.dir, versionFile))
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	} else if err != nil {
		return false, errs.WithHint(err, "set NOID_HOME to a directory of your own")
	}
	version, err := strconv.Atoi(strings.TrimSpace(string(data)))
	switch {
	case err != nil || version < 1:
		return false, errs.WithHint(fmt.Errorf("its file %q is damaged", versionFile),
			fmt.Sprintf("write %d into %s if this noid made the directory", homeFormat, filepath.Join(h.dir, versionFile)))
	case version > homeFormat:
		return false, errs.WithHint(fmt.Errorf("a newer noid made it: its format is %d, this noid knows %d", version, homeFormat),
			"upgrade noid, or set NOID_HOME to another directory")
	}
	return false, nil
}

// checkUnused refuses a directory with other people's files: making /tmp or ~ private would break them.
func (h *Home) checkUnused() error {
	info, err := os.Stat(h.dir)
	if err != nil {
		return err
	}
	if info.Mode()&os.ModeSticky != 0 {
		return errs.WithHint(errors.New("it is shared between users"), "set NOID_HOME to a directory of your own")
	}
	entries, err := os.ReadDir(h.dir)
	if err != nil {
		return err
	}
	// The two of package volume are in no new home, but their owner may have lost the version file.
	ours := []string{configFile, configLockFile, StorageDir, VolumeFile, VolumeWork, kernelsDir, ImagesDir, locksDir, ProgramsDir, NetworksDir, SSHDir, "lost+found"}
	for _, e := range entries {
		name := e.Name()
		// Another noid may be making this very home, hence the temporary files; versionFile may have come meanwhile.
		if !slices.Contains(ours, name) && name != versionFile && !strings.HasPrefix(name, indexFile) && !strings.HasPrefix(name, ".tmp-") {
			return errs.WithHint(fmt.Errorf("it holds other files, such as %q", name), "set NOID_HOME to a new or empty directory")
		}
	}
	return nil
}

// protect makes the home private: disks and memory of guests lie in it.
func (h *Home) protect() error {
	info, err := os.Stat(h.dir)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 != 0 {
		err := os.Chmod(h.dir, 0o700)
		if err != nil && !errors.Is(err, unix.EROFS) {
			return errs.WithHint(fmt.Errorf("making it private (mode 0700): %w", err), "set NOID_HOME to a directory of your own")
		}
	}
	if err := unix.Access(h.dir, unix.W_OK|unix.X_OK); err != nil && !errors.Is(err, unix.EROFS) {
		return errs.WithHint(fmt.Errorf("it cannot be written: %w", err), writableHint)
	}
	return nil
}

// Close releases the index. The Home may be used on; it opens the index again when needed.
func (h *Home) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closeIndex()
}

// GiveBack gives the small files that root makes in somebody else's home to its owner, who could not use the home any
// more.
func (h *Home) GiveBack() {
	if os.Geteuid() != 0 {
		return
	}
	info, err := os.Stat(h.dir)
	if err != nil {
		return
	}
	st := info.Sys().(*syscall.Stat_t)
	if st.Uid == 0 {
		return
	}
	for _, pattern := range []string{configFile, configLockFile, versionFile, indexFile + "*", locksDir + "/*", locksDir + "/.*.lock"} {
		found, _ := filepath.Glob(globEscape(h.dir) + "/" + pattern)
		for _, path := range found {
			if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && info.Sys().(*syscall.Stat_t).Uid == 0 {
				os.Lchown(path, int(st.Uid), int(st.Gid))
			}
		}
	}
}

// Dir is the home directory itself, an absolute path.
func (h *Home) Dir() string { return h.dir }

// ConfigPath is where config.toml is, or would be.
func (h *Home) ConfigPath() string { return filepath.Join(h.dir, configFile) }

// VMsDir holds one directory a VM.
func (h *Home) VMsDir() string { return filepath.Join(h.dir, StorageDir, vmsDir) }

// VMDir is the directory of the VM called name, which CheckName must have accepted.
func (h *Home) VMDir(name string) string { return filepath.Join(h.VMsDir(), name) }

// StagingRoot holds what is being made or removed, see StagingDir.
func (h *Home) StagingRoot() string { return filepath.Join(h.dir, StorageDir, stagingDir) }

// CheckpointsRoot holds one directory for each VM that has checkpoints.
func (h *Home) CheckpointsRoot() string { return filepath.Join(h.dir, StorageDir, checkpointsDir) }

// CheckpointsDir holds the checkpoints of vm. It exists only once there was one.
func (h *Home) CheckpointsDir(vm string) string {
	return filepath.Join(h.CheckpointsRoot(), vm)
}

// CheckpointDir is the directory of checkpoint id of vm.
func (h *Home) CheckpointDir(vm, id string) string { return filepath.Join(h.CheckpointsDir(vm), id) }

// KernelsDir holds kernels and initramfs images that noid unpacked, downloaded or built.
func (h *Home) KernelsDir() string { return filepath.Join(h.dir, kernelsDir) }

// ImagesDir holds root filesystems that noid downloaded or built.
func (h *Home) ImagesDir() string { return filepath.Join(h.dir, ImagesDir) }

// NetworksDir holds one directory for each network between VMs. It exists only once there was one.
func (h *Home) NetworksDir() string { return filepath.Join(h.dir, NetworksDir) }

// LocksDir holds the lock files, see Lock.
func (h *Home) LocksDir() string { return filepath.Join(h.dir, locksDir) }
