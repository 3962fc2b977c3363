package tarfs

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzExtract unpacks anything. Whatever it is, nothing outside the name asked for changes, and no temporary file
// stays.
func FuzzExtract(f *testing.F) {
	var b bytes.Buffer
	src := filepath.Join(f.TempDir(), "data")
	if err := os.MkdirAll(filepath.Join(src, "sub"), 0o755); err != nil {
		f.Fatal(err)
	}
	os.WriteFile(filepath.Join(src, "sub", "x"), []byte("content"), 0o644)
	os.Symlink("../..", filepath.Join(src, "l"))
	os.Link(filepath.Join(src, "sub", "x"), filepath.Join(src, "h"))
	if _, err := Create(f.Context(), &b, []string{src}, CreateOptions{Recursive: true}); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes(), true)
	f.Add(b.Bytes(), false)
	f.Add(archive(f, dir("data"), symlink("data/l", "../.."), file("data/l/x"), link("data/h", "data/l")).Bytes(), true)
	f.Add(archive(f, tar.Header{Name: "data", PAXRecords: map[string]string{sparseRecord: "100,50+4"}}).Bytes(), true)
	f.Fuzz(func(t *testing.T, stream []byte, strict bool) {
		base := t.TempDir()
		write(t, filepath.Join(base, "out"), "mine")
		write(t, filepath.Join(base, "home", "mine"), "mine")
		before, opts := tree(t, base), ExtractOptions{Recursive: true}
		inside := "home/"
		if strict {
			opts.Name, inside = "data", "home/data"
		}
		Extract(t.Context(), bytes.NewReader(stream), filepath.Join(base, "home"), opts)
		after := names(t, base)
		for name := range before {
			if strings.HasPrefix(name, inside) {
				delete(before, name)
			}
		}
		for name := range after {
			if strings.Contains(filepath.Base(name), tempPrefix) && len(filepath.Base(name)) == len(tempPrefix)+16 && !bytes.Contains(stream, []byte(tempPrefix)) {
				t.Errorf("left behind: %q", name)
			}
			if name == strings.TrimSuffix(inside, "/") && strict || strings.HasPrefix(name, inside) {
				delete(after, name)
			}
		}
		want := map[string]string{}
		for name, n := range before {
			want[name] = n.Content
		}
		if diff := cmp.Diff(want, after); diff != "" {
			t.Error(diff)
		}
	})
}

// names is tree without what only the fuzzer makes: files of any size.
func names(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		name, _ := filepath.Rel(dir, p)
		found[name] = ""
		if fi, err := d.Info(); err == nil && fi.Mode().IsRegular() && fi.Size() < 1<<20 {
			data, _ := os.ReadFile(p)
			found[name] = string(data)
		}
		return nil
	})
	return found
}

// FuzzSparse: a map that is accepted is in order and within its file, and its text gives it back.
func FuzzSparse(f *testing.F) {
	f.Add("100,0+4,50+4", int64(8))
	f.Add("0", int64(0))
	f.Add("9223372036854775807,9223372036854775806+1", int64(1))
	f.Add("10,5+9223372036854775807", int64(1))
	f.Fuzz(func(t *testing.T, s string, data int64) {
		m, err := parseSparse(s, data)
		if err != nil {
			return
		}
		end := int64(0)
		for _, e := range m.extents {
			if e.off < end || e.len <= 0 || e.off+e.len < e.off || e.off+e.len > m.size {
				t.Fatalf("%q gives %+v", s, m)
			}
			end = e.off + e.len
		}
		if m.data() != data || len(m.extents) > maxExtents {
			t.Fatalf("%q gives %+v", s, m)
		}
		again, err := parseSparse(m.String(), data)
		if err != nil || again.String() != m.String() {
			t.Fatalf("%q: %v", m, err)
		}
	})
}
