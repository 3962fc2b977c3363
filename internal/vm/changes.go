package vm

import (
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"noid/internal/link/tree"
)

// File is what stat(2) says of a guest's file.
type File = tree.File

// ChangeKind is what became of a file.
type ChangeKind string

// The kinds of changes.
const (
	Added   ChangeKind = "added"
	Removed ChangeKind = "removed"
	Changed ChangeKind = "changed"
	Renamed ChangeKind = "renamed"
)

// Change is a file that differs. Paths and links are the guest's text: not fit for a terminal.
type Change struct {
	Kind          ChangeKind
	Path          string // from the root, with a slash before it
	From          string // the old path of a renamed one
	Before, After *tree.File
	// What differs of one that was changed or renamed: "kind", "mode", "owner", "content", "target", "device", "time".
	What []string
	// Old and New are the texts before and after, nil where it is none, or too long a one.
	Old, New []byte

	unsure       bool // whether the content differs has yet to be found out
	oldAt, newAt place
}

// place is where a content is to be had.
type place struct {
	side *side
	base bool
}

// Bounds of a comparison, which costs noid memory.
const (
	maxChanges     = 200_000
	maxChangeBytes = 64 << 20 // of their paths and links
)

// comparison is a Diff that is made.
type comparison struct {
	o       DiffOptions
	a, b    *side
	related bool // both disks were one: inodes tell files
	changes []Change
	bytes   int
	folded  int
	cut     bool
}

// add adds what became of a path, if anything did.
func (c *comparison) add(at string, before, after *tree.File) {
	if !c.wanted(at) {
		return
	}
	change := Change{Path: "/" + at, Before: before, After: after, oldAt: placeOf(c.a, c.b), newAt: placeOf(c.b, c.a)}
	switch {
	case before == nil && after == nil:
		return
	case before == nil:
		change.Kind = Added
	case after == nil:
		change.Kind = Removed
	default:
		change.Kind = Changed
		if change.What, change.unsure = differences(before, after, c.related); len(change.What) == 0 && !change.unsure {
			return
		}
	}
	if !c.o.All && passing(at, before, after) {
		c.folded++
		return
	}
	size := len(at)
	for _, f := range []*tree.File{before, after} {
		if f != nil {
			size += len(f.Target)
		}
	}
	if len(c.changes) >= maxChanges || c.bytes+size > maxChangeBytes {
		c.cut = true
		return
	}
	c.bytes += size
	c.changes = append(c.changes, change)
}

// placeOf is where s has its contents. An image has none that could be asked: the other side is over it.
func placeOf(s, other *side) place {
	if s.session == nil {
		return place{other, true}
	}
	return place{s, false}
}

// wanted reports whether a path is one that was asked for.
func (c *comparison) wanted(at string) bool {
	if len(c.o.Paths) == 0 {
		return true
	}
	for _, p := range c.o.Paths {
		if within("/"+at, path.Clean("/"+p)) {
			return true
		}
	}
	return false
}

// differences says what differs of two files, and whether their contents have yet to be compared. What a directory's
// entries change of it is left out.
func differences(a, b *tree.File, related bool) (what []string, unsure bool) {
	if related && sameInode(a, b) && a.Ctime == b.Ctime && a.Birth != 0 {
		return nil, false
	}
	kind := a.Mode & unix.S_IFMT
	if kind != b.Mode&unix.S_IFMT {
		return []string{"kind"}, false
	}
	if a.Mode != b.Mode {
		what = append(what, "mode")
	}
	if a.UID != b.UID || a.GID != b.GID {
		what = append(what, "owner")
	}
	switch kind {
	case unix.S_IFLNK:
		if a.Target != b.Target {
			what = append(what, "target")
		}
	case unix.S_IFCHR, unix.S_IFBLK:
		if a.Device != b.Device {
			what = append(what, "device")
		}
	case unix.S_IFREG:
		switch {
		case a.Size != b.Size:
			what = append(what, "content")
		case a.Mtime == b.Mtime:
			unsure = related && a.Size > 0
		case a.Size > tree.MaxContent:
			what = append(what, "content")
		default:
			unsure = a.Size > 0
			what = append(what, "time")
		}
	}
	return what, unsure
}

// passingDirs are those in which files come and go by themselves.
var passingDirs = []string{"run", "tmp", "dev", "proc", "sys", "var/log", "var/run", "var/tmp", "var/cache/ldconfig"}

// noids are files that noid writes for each VM.
var noids = []string{"etc/hostname", "etc/machine-id", "var/lib/dbus/machine-id", "etc/resolv.conf"}

// passing reports whether a change is one that happens by itself.
func passing(at string, before, after *tree.File) bool {
	if slices.Contains(noids, at) {
		return true
	}
	for _, dir := range passingDirs {
		if at == dir || strings.HasPrefix(at, dir+"/") {
			return true
		}
	}
	for _, f := range []*tree.File{before, after} {
		if f != nil && (f.Mode&unix.S_IFMT == unix.S_IFSOCK || f.Mode&unix.S_IFMT == unix.S_IFCHR && unix.Major(f.Device) >= 4 && unix.Major(f.Device) <= 5) {
			return true
		}
	}
	return false
}
