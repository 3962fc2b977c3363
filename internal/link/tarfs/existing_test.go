package tarfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// stat is what cp leaves as it is of a file that is there.
type stat struct {
	Ino      uint64
	UID, GID uint32
	Mode     string
	Attr     string
}

func statOf(t *testing.T, name string) stat {
	t.Helper()
	fi, err := os.Lstat(name)
	must(t, err)
	st := fi.Sys().(*syscall.Stat_t)
	attr := make([]byte, 100)
	n, _ := unix.Getxattr(name, "user.test", attr)
	return stat{st.Ino, st.Uid, st.Gid, fi.Mode().String(), string(attr[:max(n, 0)])}
}

// TestExisting copies over files that are there: they keep owner, mode, attributes and their other names, as with cp.
func TestExisting(t *testing.T) {
	for _, tt := range []struct {
		name      string
		mode      fs.FileMode
		link      bool
		recursive bool
		inode     bool // stays
	}{
		{name: "one name", mode: 0o600},
		{name: "one name, in a tree", mode: 0o640, recursive: true},
		{name: "two names", mode: 0o640, link: true, inode: true},
		{name: "two names, in a tree", mode: 0o400, link: true, recursive: true, inode: true},
		{name: "set-uid", mode: fs.ModeSetuid | 0o755},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
			write(t, filepath.Join(src, "f"), "new and longer")
			write(t, filepath.Join(dst, "f"), "old")
			old := filepath.Join(dst, "f")
			if os.Getuid() == 0 {
				must(t, os.Chown(old, 5, 6))
			} else {
				tt.mode &= fs.ModePerm
			}
			must(t, os.Chmod(old, tt.mode))
			if err := unix.Setxattr(old, "user.test", []byte("kept"), 0); err != nil && !errors.Is(err, unix.ENOTSUP) {
				t.Fatal(err)
			}
			if tt.link {
				must(t, os.Link(old, filepath.Join(dir, "other")))
			}
			want := statOf(t, old)
			from := filepath.Join(src, "f")
			if tt.recursive {
				from = src + "/."
			}
			if stats, err := copyTree(t, from, dst, ExtractOptions{Recursive: tt.recursive, Warn: func(s string) { t.Error(s) }}); err != nil {
				t.Fatal(stats, err)
			}
			got := statOf(t, old)
			if tt.inode != (got.Ino == want.Ino) {
				t.Errorf("inode %d became %d", want.Ino, got.Ino)
			}
			got.Ino = want.Ino
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			names := map[string]bool{old: true, filepath.Join(dir, "other"): tt.link}
			for name, there := range names {
				if data, _ := os.ReadFile(name); there && string(data) != "new and longer" {
					t.Errorf("%s: %q", name, data)
				}
			}
		})
	}
}

// TestExistingOwners is -a: the file has of the source what it had there, and still its other names.
func TestExistingOwners(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root gives files away")
	}
	dir := t.TempDir()
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	for _, link := range []bool{false, true} {
		write(t, src, "new")
		must(t, os.Chown(src, 7, 8))
		must(t, os.Chmod(src, 0o751))
		write(t, dst, "old")
		want := statOf(t, src)
		if want.Ino = 0; link {
			must(t, os.Link(dst, filepath.Join(dir, "other")))
			want.Ino = statOf(t, dst).Ino
		}
		if _, err := copyTree(t, src, dst, ExtractOptions{Owners: true}); err != nil {
			t.Fatal(err)
		}
		got := statOf(t, dst)
		if !link {
			got.Ino = 0
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
}

// TestLinkedTargets writes two files over two names of one: each has its own content after that.
func TestLinkedTargets(t *testing.T) {
	src, dst := filepath.Join(t.TempDir(), "src"), t.TempDir()
	for _, name := range []string{"a", "b", "c"} {
		write(t, filepath.Join(src, name), "content of "+name)
	}
	write(t, filepath.Join(dst, "src", "a"), "old")
	must(t, os.Link(filepath.Join(dst, "src", "a"), filepath.Join(dst, "src", "b")))
	must(t, os.Link(filepath.Join(dst, "src", "a"), filepath.Join(dst, "src", "c")))
	if _, err := copyTree(t, src, dst, ExtractOptions{Recursive: true}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "c"} {
		if data, _ := os.ReadFile(filepath.Join(dst, "src", name)); string(data) != "content of "+name {
			t.Errorf("%s: %q", name, data)
		}
	}
}

// TestMountedFile writes in place a file that is a mount point, and one whose directory takes no new ones.
func TestMountedFile(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root mounts")
	}
	dir := t.TempDir()
	src, behind, small := filepath.Join(dir, "f"), filepath.Join(dir, "behind"), filepath.Join(dir, "small")
	write(t, src, "new")
	write(t, behind, "old and longer")
	must(t, os.Mkdir(small, 0o755))
	if err := syscall.Mount("test", small, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("no mounts here:", err)
	}
	t.Cleanup(func() { must(t, syscall.Unmount(small, syscall.MNT_DETACH)) })
	for _, readOnly := range []bool{false, true} {
		dst := filepath.Join(small, "f")
		if !readOnly {
			write(t, dst, "below")
			must(t, syscall.Mount(behind, dst, "", syscall.MS_BIND, ""))
			t.Cleanup(func() { must(t, syscall.Unmount(dst, syscall.MNT_DETACH)) })
		} else {
			must(t, syscall.Mount("", small, "", syscall.MS_REMOUNT|syscall.MS_RDONLY|syscall.MS_BIND, ""))
		}
		write(t, behind, "old and longer")
		before := statOf(t, behind)
		if _, err := copyTree(t, src, dst, ExtractOptions{}); err != nil {
			t.Fatal(readOnly, err)
		}
		if data, _ := os.ReadFile(behind); string(data) != "new" || statOf(t, behind) != before {
			t.Errorf("read-only %v: %q", readOnly, data)
		}
	}
}

// TestNoRoom finds out before anything is written that a file is too long: what is there stays.
func TestNoRoom(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root mounts")
	}
	dir := t.TempDir()
	src, full := filepath.Join(dir, "src"), filepath.Join(dir, "full")
	write(t, src, strings.Repeat("x", 2<<20))
	must(t, os.Mkdir(full, 0o755))
	if err := syscall.Mount("test", full, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("no mounts here:", err)
	}
	t.Cleanup(func() { must(t, syscall.Unmount(full, syscall.MNT_DETACH)) })
	old := filepath.Join(full, "src")
	for _, name := range []string{"new", "one name", "two names"} {
		if name == "one name" {
			write(t, old, "old")
		} else if name == "two names" {
			must(t, os.Link(old, filepath.Join(full, "other")))
		}
		before := tree(t, full)
		_, err := copyTree(t, src, full, ExtractOptions{})
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "no space left on device: 2 MiB needed, ") {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(before, tree(t, full), ignoreDirTimes); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestForeignExisting: of any other tar a file is replaced, as by tar(1).
func TestForeignExisting(t *testing.T) {
	dst := t.TempDir()
	write(t, filepath.Join(dst, "f"), "old")
	must(t, os.Link(filepath.Join(dst, "f"), filepath.Join(dst, "other")))
	if _, err := Extract(t.Context(), archive(t, file("f")), dst, ExtractOptions{}); err != nil {
		t.Fatal(err)
	}
	if other, _ := os.ReadFile(filepath.Join(dst, "other")); string(other) != "old" {
		t.Errorf("%q", other)
	}
}
