package home

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"noid/internal/errs"
)

// Staging directories stand in StagingRoot, in the file system of what they become or were, so that a rename moves
// them. Sweep finds a killed command's leftovers there. No VM's name begins with a dot.
const (
	newPrefix = ".new-" // being made, or exchanged out of its place and to be removed
	oldPrefix = ".old-" // taken out of its place, to be removed
	tmpPrefix = ".tmp-" // as storage names its temporary files
)

const nameRule = "a name has 1 to 63 letters, digits, '_', '.' and '-', and begins with a letter or digit"

// CheckName accepts a VM's name or returns errs.ErrUsage. An accepted name is safe as an element of a path.
func CheckName(name string) error {
	ok := len(name) >= 1 && len(name) <= 63
	for i := 0; ok && i < len(name); i++ {
		c := name[i]
		alnum := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		ok = alnum || i > 0 && (c == '_' || c == '.' || c == '-')
	}
	if ok {
		return nil
	}
	shown := name
	if len(shown) > 80 {
		shown = shown[:80] + "…"
	}
	return errs.New(errs.ErrUsage, "not a name for a vm: %q", shown).Hint(nameRule)
}

const idLen = 8 // hex digits in a checkpoint's id

// NewID returns a random checkpoint id, 8 lower-case hex digits, for which taken is false.
func NewID(taken func(string) bool) string {
	for {
		var b [idLen / 2]byte
		rand.Read(b[:]) // never fails: it ends the program instead (crypto/rand)
		if id := hex.EncodeToString(b[:]); taken == nil || !taken(id) {
			return id
		}
	}
}

// NewCheckpointID returns an id that no checkpoint of vm has.
func (h *Home) NewCheckpointID(vm string) string {
	return NewID(func(id string) bool { _, err := os.Lstat(h.CheckpointDir(vm, id)); return err == nil })
}

// isHex reports whether s is all lower-case hex digits.
func isHex(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }

// checkID accepts a full checkpoint id.
func checkID(id string) bool { return len(id) == idLen && isHex(id) }

// ParseRef splits "vm@ref" at its first @. Without an @, ref is empty. It checks the VM's name but not whether either
// exists. What it refuses is errs.ErrUsage.
func ParseRef(s string) (vm, ref string, err error) {
	vm, ref, found := strings.Cut(s, "@")
	if err := CheckName(vm); err != nil {
		return "", "", err
	}
	if found && ref == "" {
		return "", "", errs.New(errs.ErrUsage, "no checkpoint after the @ in %q", s).Hint("write NAME@ID; 'noid checkpoints " + vm + "' lists the ids")
	}
	return vm, ref, nil
}

// StagingDir returns a new name for a directory in which the VM name, or a checkpoint of it, is made before it is
// published. It creates nothing. Hold the lock of name while it exists: Sweep removes it otherwise. For a checkpoint,
// make it before CheckpointsDir(name): Sweep removes that too when it is empty.
func (h *Home) StagingDir(name string) string { return h.staged(newPrefix, name) }

// OldDir returns a new name to which the VM name, or a checkpoint of it, is renamed before it is removed: nothing is
// ever half there.
func (h *Home) OldDir(name string) string { return h.staged(oldPrefix, name) }

func (h *Home) staged(prefix, vm string) string {
	return filepath.Join(h.StagingRoot(), prefix+vm+"-"+NewID(nil))
}

// isStaging reports whether base is the name of a staging directory.
func isStaging(base string) bool {
	return strings.HasPrefix(base, newPrefix) || strings.HasPrefix(base, oldPrefix) || strings.HasPrefix(base, tmpPrefix)
}

// stagedVM returns the VM to which a staging directory belongs: ".new-NAME-RANDOM" gives NAME.
func stagedVM(base string) (string, bool) {
	if !isStaging(base) {
		return "", false
	}
	name, ok := splitStaged(base)
	return name, ok && isName(name)
}

// splitStaged takes ".xyz-NAME-RANDOM" apart.
func splitStaged(base string) (name string, ok bool) {
	if len(base) < len(newPrefix) { // the prefixes are equally long
		return "", false
	}
	name = base[len(newPrefix):]
	i := strings.LastIndexByte(name, '-')
	return name[:max(0, i)], i >= 0
}

// VMNames returns the names of all VMs, the broken ones too, sorted.
func (h *Home) VMNames() ([]string, error) {
	names, err := named(h.VMsDir(), isName) // no staging directory, nor a stray such as lost+found
	if err != nil && h.made {
		return nil, fmt.Errorf("listing vms: %w", err)
	}
	return names, nil
}

// VMDirs returns the directories of all VMs with the VMs' names, also of those that are being made or removed.
func (h *Home) VMDirs() (map[string]string, error) {
	dirs := map[string]string{}
	staged, err := subdirs(h.StagingRoot()) // first: what is published meanwhile is found twice, and not never
	for _, base := range staged {
		if vm, ok := stagedVM(base); ok {
			dirs[filepath.Join(h.StagingRoot(), base)] = vm
		}
	}
	names, namesErr := h.VMNames()
	for _, name := range names {
		dirs[h.VMDir(name)] = name
	}
	if err = errors.Join(err, namesErr); !h.made {
		err = nil
	}
	return dirs, err
}

// CheckpointOwners returns the names of the VMs, destroyed ones too, that may have checkpoints, sorted.
func (h *Home) CheckpointOwners() ([]string, error) {
	owners, err := named(h.CheckpointsRoot(), isName)
	if err != nil && h.made {
		return nil, fmt.Errorf("listing checkpoints: %w", err)
	}
	return owners, nil
}

// CheckpointIDs returns the ids of all checkpoints of vm, the broken ones too, sorted. The VM need not exist any more;
// when there is neither, that is errs.ErrNotFound.
func (h *Home) CheckpointIDs(vm string) ([]string, error) {
	if err := CheckName(vm); err != nil {
		return nil, err
	}
	ids, err := named(h.CheckpointsDir(vm), checkID)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(h.VMDir(vm)); errors.Is(err, fs.ErrNotExist) {
			return nil, noVM(vm)
		}
	} else if err != nil {
		return nil, fmt.Errorf("listing the checkpoints of vm %q: %w", vm, err)
	}
	return ids, nil
}

func isName(s string) bool { return CheckName(s) == nil }

// named returns the names in dir that are right, sorted.
func named(dir string, right func(string) bool) ([]string, error) {
	names, err := subdirs(dir)
	names = slices.DeleteFunc(names, func(name string) bool { return !right(name) })
	slices.Sort(names)
	return names, err
}

// subdirs returns the names in dir, unsorted.
func subdirs(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}
