package disk

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/storage"
)

func fsck(t *testing.T, path string) {
	t.Helper()
	if out, err := exec.Command("/sbin/e2fsck", "-fn", path).CombinedOutput(); err != nil {
		t.Errorf("e2fsck %s: %v: %s", path, err, out)
	}
}

func features(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.Command("/sbin/dumpe2fs", "-h", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestEmpty makes a disk, which takes little, whatever its size, and is made once.
func TestEmpty(t *testing.T) {
	dir := t.TempDir()
	path, err := Empty(t.Context(), dir, 8192)
	if err != nil {
		t.Fatal(err)
	}
	fsck(t, path)
	info, err := os.Stat(path)
	if err != nil || info.Size() != 8<<30 {
		t.Errorf("it has %d bytes, %v", info.Size(), err)
	}
	if !strings.Contains(features(t, path), "has_journal") {
		t.Error("it has no journal")
	}
	_, onDisk, err := storage.Usage(path)
	if err != nil || onDisk > 4<<20 {
		t.Errorf("it takes %d bytes of disk, %v", onDisk, err)
	}
	again, err := Empty(t.Context(), dir, 8192)
	if now, statErr := os.Stat(again); err != nil || statErr != nil || !os.SameFile(info, now) {
		t.Errorf("it is made twice: %v, %v", err, statErr)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left beside it: %v", entries)
	}
	if err := os.WriteFile(filepath.Join(dir, "empty-mine.ext4"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if freed := RemoveEmpty(dir); freed != onDisk {
		t.Errorf("removing it freed %d bytes, not %d", freed, onDisk)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 || entries[0].Name() != "empty-mine.ext4" {
		t.Errorf("left: %v", entries)
	}
}

// TestEmptyLong makes a disk that is longer than there is room to grow to. The file system of the test need not hold it.
func TestEmptyLong(t *testing.T) {
	path, err := Empty(t.Context(), t.TempDir(), 3<<20)
	if errors.Is(err, unix.EFBIG) {
		t.Skip("NOT RUN: no file here is so long")
	} else if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(features(t, path), "has_journal") {
		t.Error("it has no journal")
	}
}

// TestFlat makes one disk of a base that is full and has no journal.
func TestFlat(t *testing.T) {
	dir := t.TempDir()
	tree, base, disk := filepath.Join(dir, "tree"), filepath.Join(dir, "base.ext4"), filepath.Join(dir, "rootfs.ext4")
	if err := errors.Join(os.Mkdir(tree, 0o755), os.WriteFile(filepath.Join(tree, "file"), bytes.Repeat([]byte("x"), 3<<20), 0o644)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("/sbin/mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", tree, base, "5M").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.Chmod(base, 0o400); err != nil {
		t.Fatal(err)
	}
	before, err := storage.HashFile(t.Context(), base, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := Flat(t.Context(), disk, base, 32); !errors.Is(err, errs.ErrUsage) {
		t.Errorf("on too small a disk: %v", err)
	}
	if err := Flat(t.Context(), disk, base, 512); err != nil {
		t.Fatal(err)
	}
	fsck(t, disk)
	if f := features(t, disk); !strings.Contains(f, "has_journal") || !strings.Contains(f, "Block count:              131072\n") && !strings.Contains(f, "524288") {
		t.Errorf("the disk: %s", f)
	}
	out, err := exec.Command("/sbin/debugfs", "-R", "stat /file", disk).Output()
	if err != nil || !strings.Contains(string(out), "Size: 3145728") {
		t.Errorf("its file: %s, %v", out, err)
	}
	after, err := storage.HashFile(t.Context(), base, 0)
	if err != nil || before.Root() != after.Root() {
		t.Errorf("the base was written: %v", err)
	}
}

// TestNoTools says what to install.
func TestNoTools(t *testing.T) {
	if _, err := find("no-such-mke2fs"); !errors.Is(err, errs.ErrHost) {
		t.Errorf("got %v", err)
	}
}
