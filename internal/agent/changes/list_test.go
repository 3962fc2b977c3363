package changes

import (
	"bytes"
	"io"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"noid/internal/link/tree"
)

// filesIn describes what is in dir, but what no list has.
func filesIn(t *testing.T, dir string) map[string]tree.File {
	t.Helper()
	list := map[string]tree.File{}
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		name, _ := filepath.Rel(dir, p)
		if err != nil || name == "." || ofKernel(name) || name == "dev" || name == "var/lib/docker" {
			return err
		}
		f, err := statAt(at(t, filepath.Dir(p)), filepath.Base(p))
		if err == nil {
			list[name] = plain(f)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// plain is a file without what tells the overlay from its lower directory, and the count that each entry of a directory
// changes.
func plain(f *tree.File) tree.File {
	p := tree.File{Mode: f.Mode, UID: f.UID, GID: f.GID, Device: f.Device, Mtime: f.Mtime, Target: f.Target}
	if f.Mode&0o40000 == 0 {
		p.Size = f.Size
	} else {
		p.Mtime = 0
	}
	return p
}

func entries(t *testing.T, data []byte) (list []tree.Entry) {
	t.Helper()
	r := tree.NewReader(bytes.NewReader(data))
	for {
		e, err := r.Read()
		if err == io.EOF && !r.Cut {
			return list
		} else if err != nil {
			t.Fatal(err, r.Cut)
		}
		list = append(list, e)
	}
}

// TestListChanges: what a list of changes says of the lower directory and of the overlay is so, and with it the one becomes the
// other.
func TestListChanges(t *testing.T) {
	dir := overlay(t)
	lower, root := filepath.Join(dir, "own/lower"), filepath.Join(dir, "root")
	var b bytes.Buffer
	if err := List(&b, at(t, filepath.Join(dir, "own/upper")), at(t, root), at(t, lower)); err != nil {
		t.Fatal(err)
	}
	was, is, n := filesIn(t, lower), filesIn(t, root), 0
	for _, e := range entries(t, b.Bytes()) {
		if n++; e.Path == "" || e.Path == "dev" {
			continue
		}
		f, there := was[e.Path]
		if there != (e.Base != nil) || there && plain(e.Base) != f {
			t.Errorf("%q was %v, %+v: %+v", e.Path, there, f, e.Base)
		}
		if delete(was, e.Path); e.Now != nil {
			was[e.Path] = plain(e.Now)
		}
	}
	if diff := cmp.Diff(is, was); diff != "" {
		t.Errorf("there is -, and the list says +:\n%s", diff)
	}
	b.Reset()
	if err := ListAll(&b, at(t, root)); err != nil {
		t.Fatal(err)
	}
	all := map[string]tree.File{}
	for _, e := range entries(t, b.Bytes()) {
		if e.Path != "" && e.Path != "dev" {
			all[e.Path] = plain(e.Now)
		}
	}
	if diff := cmp.Diff(is, all); diff != "" {
		t.Errorf("there is -, and the whole list has +:\n%s", diff)
	}
}
