package imagetest

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// File is an entry of a layer.
type File struct {
	tar.Header
	Content string
}

// Pack makes a layer of files.
func Pack(t testing.TB, files []File) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		if f.Typeflag == 0 {
			f.Typeflag = tar.TypeReg
		}
		if f.Typeflag == tar.TypeReg {
			f.Size = int64(len(f.Content))
		}
		if err := w.WriteHeader(&f.Header); err != nil {
			t.Fatalf("%q: %v", f.Name, err)
		}
		if _, err := io.WriteString(w, f.Content); err != nil {
			t.Fatalf("%q: %v", f.Name, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Then is when the files were changed.
var Then = time.Unix(1_700_000_000, 0)

// Dir is a directory.
func Dir(name string, mode int64) File {
	return File{Header: tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode, ModTime: Then, Format: tar.FormatPAX}}
}

// Reg is a file.
func Reg(name, content string) File {
	return File{tar.Header{Name: name, Mode: 0o644, ModTime: Then, Format: tar.FormatPAX}, content}
}

// Symlink is a symbolic link.
func Symlink(name, target string) File {
	return File{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777, ModTime: Then, Format: tar.FormatPAX}}
}

// Hardlink is another name of a file.
func Hardlink(name, target string) File {
	return File{Header: tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644, ModTime: Then, Format: tar.FormatPAX}}
}

// With gives a file extended attributes.
func With(f File, xattrs ...string) File {
	f.PAXRecords = map[string]string{}
	for i := 0; i < len(xattrs); i += 2 {
		f.PAXRecords["SCHILY.xattr."+xattrs[i]] = xattrs[i+1]
	}
	return f
}

// Owned gives a file an owner.
func Owned(f File, uid, gid int) File {
	f.Uid, f.Gid = uid, gid
	return f
}

// Dated gives a file a time.
func Dated(f File, when time.Time) File {
	f.ModTime = when
	return f
}

// Random are bytes of no pattern, the same each time.
func Random(size int, seed uint64) string {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return string(b)
}

// Twenty are twenty layers that change one another's files.
func Twenty(t testing.TB) [][]byte {
	layers := [][]byte{Pack(t, []File{Dir("./", 0o755)})}
	for i := range 19 {
		own := fmt.Sprintf("own/%d", i)
		list := []File{Dir("own", 0o755), Dir(own, 0o700), Reg(own+"/file", fmt.Sprint(i)), Reg("shared", strings.Repeat("x", i)), Dir("d", 0o755)}
		for j := range 19 {
			list = append(list, Reg(fmt.Sprintf("d/%d-%d", i, j), Random(100*j, uint64(i))))
			if j < i && (i+j)%5 == 0 {
				list = append(list, Reg(fmt.Sprintf("d/.wh.%d-%d", j, i), ""), Hardlink(fmt.Sprintf("d/%d-from-%d", i, j), fmt.Sprintf("d/%d-%d", j, j)))
			}
		}
		if i%7 == 6 {
			list = append(list, Reg(fmt.Sprintf("own/.wh.%d", i-3), ""), Dir(fmt.Sprintf("own/%d", i-2), 0o711), Reg(fmt.Sprintf("own/%d/.wh..wh..opq", i-2), ""))
		}
		layers = append(layers, Pack(t, list))
	}
	return layers
}
