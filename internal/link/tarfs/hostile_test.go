package tarfs

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// archive writes a stream with a right end record, whatever is in it.
func archive(t testing.TB, headers ...tar.Header) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		content := []byte(nil)
		if h.Typeflag == tar.TypeReg {
			content = []byte("evil")
			h.Size = int64(len(content))
		}
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		if h.Format == 0 {
			h.Format = tar.FormatPAX
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	end := &tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{endRecord: fmt.Sprint(len(headers))}}
	if err := w.WriteHeader(end); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

func dir(name string) tar.Header { return tar.Header{Typeflag: tar.TypeDir, Name: name} }
func file(name string) tar.Header {
	return tar.Header{Name: name}
}
func symlink(name, to string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to}
}
func link(name, to string) tar.Header {
	return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: to}
}

// TestHostile unpacks archives that try to get out. home stands for the directory of somebody who ran
// 'noid cp -r vm:/data .' in it: nothing but home/data may change, and nothing at all outside of it.
func TestHostile(t *testing.T) {
	for _, tt := range []struct {
		name    string
		entries []tar.Header
		text    string // in the error, or in the warning
		refused bool   // as a whole
	}{
		{"absolute name", []tar.Header{dir("data/"), file("/data/x")}, "the name", true},
		{"absolute name of somewhere", []tar.Header{file("OUTSIDE/evil")}, "the name", true},
		{"parent", []tar.Header{file("../evil")}, "the name", true},
		{"parent below", []tar.Header{dir("data/"), file("data/../../evil")}, "the name", true},
		{"parent within", []tar.Header{dir("data/"), file("data/../.bashrc")}, "the name", true},
		{"another name", []tar.Header{file(".bashrc")}, "asked for", true},
		{"another name, later", []tar.Header{dir("data/"), file(".bashrc")}, "asked for", true},
		{"a name that begins like it", []tar.Header{dir("data/"), file("data2/x")}, "asked for", true},
		{"nothing", []tar.Header{dir("./")}, "asked for", true},
		{"no name", []tar.Header{symlink("", "x")}, "asked for", true},
		{"the root is a link", []tar.Header{symlink("data", ".ssh"), file("data/authorized_keys")}, "symbolic link", false},
		{"the root is a link out", []tar.Header{symlink("data", "OUTSIDE"), file("data/evil")}, "symbolic link", false},
		{"a link in the middle", []tar.Header{dir("data"), symlink("data/l", "../.ssh"), file("data/l/authorized_keys")}, "symbolic link", false},
		{"a link to the root", []tar.Header{dir("data"), symlink("data/l", "/"), file("data/l/OUTSIDE/evil")}, "symbolic link", false},
		{"a link to itself", []tar.Header{dir("data"), symlink("data/l", "."), file("data/l/x")}, "symbolic link", false},
		{"links upwards in steps", []tar.Header{dir("data"), dir("data/a"), symlink("data/a/b", ".."), symlink("data/c", "a/b/.."), file("data/c/evil")}, "symbolic link", false},
		{"a directory over a link", []tar.Header{dir("data"), symlink("data/l", "OUTSIDE"), dir("data/l"), file("data/l/evil")}, "symbolic link", false},
		{"a file through a link", []tar.Header{dir("data"), symlink("data/l", "OUTSIDE/secret"), file("data/l")}, "", false},
		{"hard link out, absolute", []tar.Header{dir("data"), link("data/h", "OUTSIDE/secret")}, "the name", true},
		{"hard link out, parent", []tar.Header{dir("data"), link("data/h", "data/../../outside/secret")}, "the name", true},
		{"hard link to another file", []tar.Header{dir("data"), link("data/h", ".bashrc")}, "asked for", true},
		{"hard link through a link", []tar.Header{dir("data"), symlink("data/l", ".."), link("data/h", "data/l/.bashrc")}, "symbolic link", false},
		{"hard link to a link, written to", []tar.Header{dir("data"), symlink("data/l", "OUTSIDE/secret"), link("data/h", "data/l"), file("data/h")}, "", false},
		{"hard link to a directory", []tar.Header{dir("data"), dir("data/d"), link("data/h", "data/d")}, "a directory", false},
		{"hard link to itself", []tar.Header{dir("data"), link("data/h", "data/h")}, "no such file", false},
		{"hard link first", []tar.Header{link("data", "data")}, "a link to", true},
		{"file below a file", []tar.Header{dir("data"), file("data/x"), file("data/x/y")}, "not a directory", false},
		{"directory that was not sent", []tar.Header{dir("data"), file("data/no/x")}, "no such file", false},
		{"character device", []tar.Header{dir("data"), {Typeflag: tar.TypeChar, Name: "data/null", Devmajor: 1, Devminor: 3}}, "entry of type", true},
		{"block device", []tar.Header{dir("data"), {Typeflag: tar.TypeBlock, Name: "data/vda", Devmajor: 253}}, "entry of type", true},
		{"fifo", []tar.Header{dir("data"), {Typeflag: tar.TypeFifo, Name: "data/fifo"}}, "entry of type", true},
		{"set-uid", []tar.Header{dir("data"), {Name: "data/su", Mode: 0o6755}}, "", false},
		{"too deep", []tar.Header{dir("data"), file("data/" + strings.Repeat("d/", maxDepth+1) + "x")}, "directories deep", true},
		{"long name", []tar.Header{dir("data"), file("data/" + strings.Repeat("x", maxName))}, "a name of", true},
		{"name too long for the disk", []tar.Header{dir("data"), file("data/" + strings.Repeat("x", 256))}, "too long", false},
		{"times beyond everything", []tar.Header{dir("data"), {Name: "data/x", ModTime: time.Unix(1<<50, 0)}}, "", false},
		{"sparse out of order", []tar.Header{dir("data"), {Name: "data/x", PAXRecords: map[string]string{sparseRecord: "100,50+2,0+2"}}}, "map of a sparse", true},
		{"sparse beyond its end", []tar.Header{dir("data"), {Name: "data/x", PAXRecords: map[string]string{sparseRecord: "100,98+4"}}}, "map of a sparse", true},
		{"sparse beyond the disk", []tar.Header{dir("data"), {Name: "data/x", PAXRecords: map[string]string{sparseRecord: "9223372036854775807,0+4"}}}, "too large", false},
		{"data after the end", nil, "", false}, // see below
	} {
		t.Run(tt.name, func(t *testing.T) {
			base := t.TempDir()
			outside, home := filepath.Join(base, "outside"), filepath.Join(base, "home")
			write(t, filepath.Join(outside, "secret"), "secret")
			write(t, filepath.Join(home, ".bashrc"), "mine")
			write(t, filepath.Join(home, ".ssh", "authorized_keys"), "mine")
			before := tree(t, base)
			for i := range tt.entries {
				tt.entries[i].Name = strings.ReplaceAll(tt.entries[i].Name, "OUTSIDE", outside)
				tt.entries[i].Linkname = strings.ReplaceAll(tt.entries[i].Linkname, "OUTSIDE", outside)
			}
			stream := archive(t, tt.entries...)
			if tt.entries == nil {
				stream = archive(t, dir("data"))
				stream.Truncate(stream.Len() - 1024)
				stream.Write(archive(t, file("data/x")).Bytes())
				tt.text, tt.refused = "goes on", true
			}
			var said []string
			stats, err := Extract(t.Context(), stream, home, ExtractOptions{Name: "data", Recursive: true, Warn: func(s string) { said = append(said, s) }})
			if tt.refused != errors.Is(err, ErrArchive) || !tt.refused && err != nil {
				t.Errorf("refused %v: %v", tt.refused, err)
			}
			if err != nil {
				said = append(said, err.Error())
			}
			if all := strings.Join(said, "\n"); !strings.Contains(all, tt.text) || tt.text == "" && all != "" {
				t.Errorf("it said %q, want %q; %+v", all, tt.text, stats)
			}
			after := tree(t, base)
			for name, n := range after {
				if name == "home/data" || strings.HasPrefix(name, "home/data/") {
					if strings.ContainsAny(n.Mode, "ugDcp") || strings.Contains(n.Content, "mine") || strings.Contains(name, tempPrefix) {
						t.Errorf("%q is there as %+v", name, n)
					}
					delete(after, name)
				}
			}
			if diff := cmp.Diff(before, after, ignoreDirTimes); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestLone is a copy without -r: one file and nothing beside it, not even in a directory that has its name.
func TestLone(t *testing.T) {
	for _, tt := range []struct {
		entries []tar.Header
		mkdir   bool
	}{
		{entries: []tar.Header{file("f"), file("f")}},
		{entries: []tar.Header{file("./f")}},
		{entries: []tar.Header{symlink("f", "/etc/passwd")}},
		{entries: []tar.Header{dir("f"), file("f/evil")}},
		{entries: []tar.Header{file("f/evil")}, mkdir: true},
		{entries: []tar.Header{dir("f"), file("f/evil")}, mkdir: true},
	} {
		dst := t.TempDir()
		if tt.mkdir {
			must(t, os.Mkdir(filepath.Join(dst, "f"), 0o755))
		}
		if _, err := Extract(t.Context(), archive(t, tt.entries...), dst, ExtractOptions{Name: "f"}); !errors.Is(err, ErrArchive) {
			t.Errorf("%v: %v", tt.entries, err)
		}
		if _, err := os.Lstat(filepath.Join(dst, "f", "evil")); err == nil {
			t.Errorf("%v: written", tt.entries)
		}
	}
}

// TestSeveral is a copy of several sources: their names and no other, one file each without -r, and only into a
// directory.
func TestSeveral(t *testing.T) {
	for _, tt := range []struct {
		entries   []tar.Header
		recursive bool
		want      []string
		refused   bool
	}{
		{entries: []tar.Header{file("a"), file("b")}, want: []string{".", "a", "b"}},
		{entries: []tar.Header{file("a"), file("c")}, want: []string{".", "a"}, refused: true},
		{entries: []tar.Header{file("a"), file("b"), file("a")}, want: []string{".", "a", "b"}, refused: true},
		{entries: []tar.Header{file("a"), symlink("b", "/etc/passwd")}, want: []string{".", "a"}, refused: true},
		{entries: []tar.Header{dir("a"), file("a/x"), file("b")}, recursive: true, want: []string{".", "a", "a/x", "b"}},
		{entries: []tar.Header{dir("a"), file("c/x")}, recursive: true, want: []string{".", "a"}, refused: true},
		{entries: []tar.Header{dir("a"), file("a/../../c")}, recursive: true, want: []string{".", "a"}, refused: true},
	} {
		dst := t.TempDir()
		opts := ExtractOptions{Name: "a", Others: []string{"b"}, Recursive: tt.recursive}
		_, err := Extract(t.Context(), archive(t, tt.entries...), dst, opts)
		var got []string
		for name := range tree(t, dst) {
			got = append(got, name)
		}
		if diff := cmp.Diff(tt.want, got, sorted); diff != "" || errors.Is(err, ErrArchive) != tt.refused {
			t.Errorf("%v: %v, %s", tt.entries, err, diff)
		}
		must(t, os.WriteFile(filepath.Join(dst, "f"), nil, 0o600))
		for _, name := range []string{"f", "none"} {
			if _, err := Extract(t.Context(), archive(t, tt.entries...), filepath.Join(dst, name), opts); err == nil || errors.Is(err, ErrArchive) {
				t.Errorf("into %s: %v", name, err)
			}
		}
	}
}

// TestForeign unpacks a stream of anyone's, as 'noid cp - vm:/dir' does: more is allowed, but not to leave the
// directory.
func TestForeign(t *testing.T) {
	base := t.TempDir()
	dst := filepath.Join(base, "dst")
	must(t, os.MkdirAll(filepath.Join(dst, "usr", "bin"), 0o755))
	must(t, os.Symlink("usr/bin", filepath.Join(dst, "bin")))
	must(t, os.Symlink("../bin", filepath.Join(dst, "usr", "up")))
	stream := archive(t, file("bin/tool"), file("usr/up/other"), file("implied/x"), file("/absolute"), file("../evil"), symlink("out", base), file("out/evil"),
		tar.Header{Typeflag: tar.TypeFifo, Name: "fifo"}, dir("./"), file("last"))
	stats, err := Extract(t.Context(), stream, dst, ExtractOptions{})
	if err != nil || stats.Failed != 3 {
		t.Fatal(stats, err)
	}
	var names []string
	for name, n := range tree(t, base) {
		if n.Content == "evil" {
			names = append(names, name)
		}
	}
	want := []string{"dst/absolute", "dst/implied/x", "dst/last", "dst/usr/bin/other", "dst/usr/bin/tool"}
	if diff := cmp.Diff(want, names, sorted); diff != "" {
		t.Error(diff)
	}
	if _, err := Extract(t.Context(), archive(t), filepath.Join(base, "no"), ExtractOptions{}); err == nil {
		t.Error("a destination that is not there was accepted")
	}
	if _, err := Extract(t.Context(), archive(t), filepath.Join(dst, "last"), ExtractOptions{}); err == nil {
		t.Error("a file as the destination was accepted")
	}
}
