package vm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"noid/internal/link/tree"
)

// listOf is a list of files as a guest sends it.
func listOf(t *testing.T, entries ...tree.Entry) *tree.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tree.NewWriter(&b)
	for _, e := range entries {
		must(t, w.Write(e))
	}
	must(t, w.Close())
	return tree.NewReader(&b)
}

func regular(f File) *File {
	f.Mode |= unix.S_IFREG
	return &f
}

// TestMerge: what two lists say has changed, and of what the contents have to be asked.
func TestMerge(t *testing.T) {
	dir := &File{Mode: unix.S_IFDIR, Inode: 2, Birth: 1, Ctime: 1}
	same := regular(File{Inode: 3, Birth: 1, Ctime: 1, Size: 5})
	older, newer := regular(File{Size: 5, Mtime: 1, Ctime: 1, Birth: 1}), regular(File{Size: 5, Mtime: 2, Ctime: 2, Birth: 1})
	secret := regular(File{Size: 5, Mtime: 1, Ctime: 9, Birth: 1}) // its content may differ though its time was put back
	open := regular(File{Size: 5, Mtime: 1, Ctime: 9, Birth: 1, Mode: 0o644})
	long := regular(File{Size: 6, Mtime: 2, Ctime: 2, Birth: 1})
	link := func(to string) *File { return &File{Mode: unix.S_IFLNK, Target: to} }
	root := tree.Entry{Now: dir}
	a := []tree.Entry{root, {Path: "chmod", Now: older}, {Path: "gone", Now: older}, {Path: "kind", Now: older}, {Path: "link", Now: link("a")},
		{Path: "long", Now: older}, {Path: "same", Now: same}, {Path: "secret", Now: older}, {Path: "tmp", Now: dir}, {Path: "touched", Now: older}}
	b := []tree.Entry{root, {Path: "chmod", Now: open}, {Path: "kind", Now: dir}, {Path: "link", Now: link("b")},
		{Path: "long", Now: long}, {Path: "new\n", Now: newer}, {Path: "same", Now: same}, {Path: "secret", Now: secret}, {Path: "tmp", Now: dir}, {Path: "tmp/x", Now: newer}, {Path: "touched", Now: newer}}
	c := &comparison{a: &side{session: &session{}}, b: &side{session: &session{}}}
	must(t, c.merge(t.Context(), listOf(t, a...), listOf(t, b...)))
	var got []string
	for _, change := range c.changes {
		got = append(got, fmt.Sprintf("%s %q %v %v", change.Kind, change.Path, change.What, change.unsure))
	}
	want := []string{`changed "/chmod" [mode] true`, `removed "/gone" [] false`, `changed "/kind" [kind] false`, `changed "/link" [target] false`,
		`changed "/long" [content] false`, `added "/new\n" [] false`, `changed "/secret" [] true`, `changed "/touched" [time] true`}
	if diff := cmp.Diff(want, got); diff != "" || c.folded != 1 {
		t.Errorf("folded %d:\n%s", c.folded, diff)
	}

	// Over one image: what one list alone has, the other side has as the image does.
	c = &comparison{a: &side{session: &session{}}, b: &side{session: &session{}}, related: true}
	must(t, c.merge(t.Context(), listOf(t, root, tree.Entry{Path: "back", Now: nil, Base: older}, tree.Entry{Path: "only", Now: older}),
		listOf(t, root, tree.Entry{Path: "removed", Base: older}, tree.Entry{Path: "same", Now: older, Base: older})))
	got = nil
	for _, change := range c.changes {
		if !change.unsure {
			got = append(got, fmt.Sprintf("%s %q", change.Kind, change.Path))
		}
	}
	if diff := cmp.Diff([]string{`added "/back"`, `removed "/only"`, `removed "/removed"`}, got); diff != "" {
		t.Error(diff)
	}
}

// TestMergeHostile: a list without end is cut, and one that is out of order or ends early is an error.
func TestMergeHostile(t *testing.T) {
	r, w := io.Pipe()
	go func() {
		endless := tree.NewWriter(w)
		for i := 0; ; i++ {
			path := fmt.Sprintf("%08d/%s", i, strings.Repeat("\x1b", 2000))
			if err := endless.Write(tree.Entry{Path: path, Now: &File{}}); err != nil {
				return
			}
			if i == 100_000 {
				endless.Close()
				return
			}
		}
	}()
	c := &comparison{a: &side{}, b: &side{session: &session{}}}
	must(t, c.merge(t.Context(), listOf(t), tree.NewReader(r)))
	if !c.cut || c.bytes > maxChangeBytes || len(c.changes) == 0 {
		t.Errorf("cut %v, %d changes of %d bytes", c.cut, len(c.changes), c.bytes)
	}
	err := c.merge(t.Context(), listOf(t), listOf(t, tree.Entry{Path: "b", Now: &File{}}, tree.Entry{Path: "a", Now: &File{}}))
	if !errors.Is(err, tree.ErrBad) {
		t.Errorf("out of order: %v", err)
	}
	if err := c.merge(t.Context(), listOf(t), tree.NewReader(strings.NewReader(""))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("nothing: %v", err)
	}
}

// TestRenames: one inode is one file; what came with its directory is not shown again.
func TestRenames(t *testing.T) {
	dir := &File{Mode: unix.S_IFDIR, Inode: 10, Birth: 1}
	file := func(inode uint64) *File { return regular(File{Inode: inode, Birth: 1, Size: 1 << 40}) }
	c := &comparison{related: true, changes: []Change{
		{Kind: Removed, Path: "/a", Before: dir}, {Kind: Removed, Path: "/a/x", Before: file(11)}, {Kind: Removed, Path: "/a/y", Before: file(12)},
		{Kind: Added, Path: "/b", After: dir}, {Kind: Added, Path: "/b/x", After: file(11)}, {Kind: Added, Path: "/b/z", After: file(12)},
		{Kind: Removed, Path: "/l1", Before: file(13)}, {Kind: Removed, Path: "/l2", Before: file(13)}, {Kind: Added, Path: "/m", After: file(13)},
	}}
	must(t, c.renames(t.Context()))
	var got []string
	for _, change := range c.changes {
		got = append(got, fmt.Sprintf("%s %s %s", change.Kind, change.From, change.Path))
	}
	want := []string{"renamed /a /b", "renamed /a/y /b/z", "removed  /l1", "removed  /l2", "added  /m"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, not %q", got, want)
	}
}
