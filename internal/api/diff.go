package api

import (
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/vm"
)

// Diff is how two moments differ.
type Diff struct {
	From    string   `json:"from"`
	To      string   `json:"to"`
	Changes []Change `json:"changes"`
	Folded  int      `json:"folded"` // changes of what changes by itself
	Cut     bool     `json:"cut"`    // there are more than these
	// Where they were asked for.
	Processes []ProcessChange `json:"processes,omitempty"`
	Packages  []PackageChange `json:"packages,omitempty"`
}

// ProcessChange is a process that came (no before), went (no after), or is another under the same id.
type ProcessChange struct {
	Before *vm.Process `json:"before,omitempty"`
	After  *vm.Process `json:"after,omitempty"`
}

// PackageChange is a package that came, went, or has another version.
type PackageChange struct {
	Manager string `json:"manager"`
	Name    string `json:"name"`
	Before  string `json:"before,omitempty"` // versions
	After   string `json:"after,omitempty"`
}

// Change is a file that differs.
type Change struct {
	Kind   string   `json:"kind"` // added, removed, changed, renamed
	Path   string   `json:"path"`
	Was    string   `json:"was,omitempty"` // the old path of a renamed one
	What   []string `json:"what,omitempty"`
	Before *File    `json:"before,omitempty"`
	After  *File    `json:"after,omitempty"`
}

// File is what stat(2) says of a file.
type File struct {
	Mode     string    `json:"mode"` // as ls shows it
	UID      uint32    `json:"uid"`
	GID      uint32    `json:"gid"`
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
	Target   string    `json:"target,omitempty"`
}

// DiffOf is d, between two moments.
func DiffOf(before, after vm.Moment, d vm.Diff) Diff {
	j := Diff{From: before.String(), To: after.String(), Changes: []Change{}, Folded: d.Folded, Cut: d.Cut}
	for _, c := range d.Changes {
		j.Changes = append(j.Changes, Change{string(c.Kind), c.Path, c.From, c.What, fileOf(c.Before), fileOf(c.After)})
	}
	for _, p := range d.Processes {
		j.Processes = append(j.Processes, ProcessChange(p))
	}
	for _, p := range d.Packages {
		j.Packages = append(j.Packages, PackageChange(p))
	}
	return j
}

func fileOf(f *vm.File) *File {
	if f == nil {
		return nil
	}
	at := time.Unix(0, f.Mtime).UTC() // of the years that RFC 3339 has: it is an int64 of ns
	return &File{ModeText(f.Mode), f.UID, f.GID, f.Size, at, f.Target}
}

// ModeText is a mode as ls shows it.
func ModeText(mode uint32) string {
	kind := map[uint32]byte{unix.S_IFDIR: 'd', unix.S_IFLNK: 'l', unix.S_IFCHR: 'c', unix.S_IFBLK: 'b', unix.S_IFIFO: 'p', unix.S_IFSOCK: 's'}[mode&unix.S_IFMT]
	b := []byte("-rwxrwxrwx")
	if kind != 0 {
		b[0] = kind
	}
	for i := range 9 {
		if mode&(1<<(8-i)) == 0 {
			b[1+i] = '-'
		}
	}
	for i, special := range []struct {
		bit uint32
		on  byte
	}{{unix.S_ISUID, 's'}, {unix.S_ISGID, 's'}, {unix.S_ISVTX, 't'}} {
		if at := 3 * (i + 1); mode&special.bit != 0 {
			if b[at] == '-' {
				special.on -= 'a' - 'A'
			}
			b[at] = special.on
		}
	}
	return string(b)
}
