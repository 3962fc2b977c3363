package vm

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"noid/internal/errs"
	"noid/internal/home"
	"noid/internal/storage"
)

// TestUsageOfVolume has the storage elsewhere, as if it lay in the volume's file in the home: its bytes count once.
func TestUsageOfVolume(t *testing.T) {
	const mib = 1 << 20
	dir := filepath.Join(t.TempDir(), "home")
	must(t, os.Mkdir(dir, 0o700))
	must(t, os.Symlink(t.TempDir(), filepath.Join(dir, "storage")))
	h, err := home.Open(dir)
	must(t, err)
	defer h.Close()
	must(t, os.Mkdir(h.VMDir("a"), 0o700))
	must(t, os.WriteFile(filepath.Join(h.VMDir("a"), "rootfs.ext4"), make([]byte, 3*mib), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, home.VolumeFile), make([]byte, 5*mib), 0o600))
	u, err := (&Manager{Home: h}).Usage(t.Context(), nil)
	must(t, err)
	const little = 512 << 10 // directories, the index
	if got := u.Total.Total(); got < 5*mib || got > 5*mib+little {
		t.Errorf("all: %d bytes, and 5 MiB are the volume's", got)
	}
	if got := u.Other.Own(); got < 2*mib || got > 2*mib+little {
		t.Errorf("other: %d bytes, and 2 MiB of the volume are nobody's", got)
	}
}

// TestUsageOfImagesInVolume has images where a volume has them, behind a link: their bytes count once.
func TestUsageOfImagesInVolume(t *testing.T) {
	const mib = 1 << 20
	h, err := home.Open(filepath.Join(t.TempDir(), "home"))
	must(t, err)
	defer h.Close()
	real := filepath.Join(h.Dir(), home.StorageDir, home.ImagesDir)
	must(t, errors.Join(os.Remove(h.ImagesDir()), os.Mkdir(real, 0o700), os.Symlink("storage/images", h.ImagesDir())))
	must(t, os.WriteFile(filepath.Join(real, "rootfs.ext4"), make([]byte, 5*mib), 0o600))
	u, err := (&Manager{Home: h}).Usage(t.Context(), nil)
	must(t, err)
	const little = 512 << 10
	if images, other, all := u.Images.Own(), u.Other.Total(), u.Total.Total(); images < 5*mib || other > little || all > 5*mib+little {
		t.Errorf("images: %d bytes, other: %d, all: %d", images, other, all)
	}
}

func TestUsage(t *testing.T) {
	const mib = 1 << 20
	h, err := home.Open(filepath.Join(t.TempDir(), "home"))
	must(t, err)
	defer h.Close()
	m := &Manager{Home: h}
	put := func(path string, n int) {
		t.Helper()
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		must(t, os.WriteFile(path, []byte(strings.Repeat("x", n)), 0o600))
	}
	put(filepath.Join(h.VMDir("a"), "rootfs.ext4"), 3*mib)
	put(filepath.Join(h.CheckpointDir("a", "00000001"), "rootfs.ext4"), 3*mib)
	put(filepath.Join(h.CheckpointDir("a", "00000001"), "memory.snap"), 8*mib)
	put(filepath.Join(h.CheckpointDir("a", "00000002"), "rootfs.ext4"), 3*mib)
	must(t, os.Link(filepath.Join(h.CheckpointDir("a", "00000001"), "memory.snap"), filepath.Join(h.VMDir("a"), "memory.snap")))
	put(filepath.Join(h.CheckpointDir("gone", "00000003"), "rootfs.ext4"), mib)
	put(filepath.Join(h.ImagesDir(), "rootfs.ext4"), 5*mib)
	put(filepath.Join(h.KernelsDir(), "vmlinux"), 6*mib)
	put(filepath.Join(h.StagingDir("a"), "rootfs.ext4"), 2*mib)
	must(t, os.Mkdir(h.VMDir("empty"), 0o700))
	is := func(what string, got, want int64) {
		t.Helper()
		if got < want*mib || got > want*mib+256<<10 {
			t.Errorf("%s: %d bytes, want about %d MiB", what, got, want)
		}
	}

	u, err := m.Usage(t.Context(), nil)
	if err != nil || len(u.VMs) != 3 || u.VMs[0].Name != "a" || u.VMs[1].Name != "empty" || u.VMs[2].Name != "gone" || u.VMs[0].Checkpoints != 2 {
		t.Fatalf("%+v, %v", u, err)
	}
	a, gone := u.VMs[0], u.VMs[2]
	is("own of a", a.VM.Own(), 3)
	is("shared of a", a.VM.Shared(), 8)
	is("own of its checkpoints", a.OfCheckpoints.Own(), 6)
	is("shared of its checkpoints", a.OfCheckpoints.Shared(), 8)
	is("a and its checkpoints", a.Total.Total(), 17)
	is("of a destroyed vm", gone.VM.Total(), 0)
	is("its checkpoints", gone.OfCheckpoints.Own(), 1)
	is("images", u.Images.Own(), 5)
	is("kernels", u.Kernels.Own(), 6)
	is("other", u.Other.Own(), 2)
	is("all", u.Total.Total(), 31)
	// Neither forgotten nor counted twice, not even a directory.
	if all, err := storage.Occupy(t.Context(), h.Dir(), nil); err != nil || all.Total() != u.Total.Total() {
		t.Errorf("the home has %d bytes, its parts %d, %v", all.Total(), u.Total.Total(), err)
	}

	u, err = m.Usage(t.Context(), []string{"gone", "nobody", "gone", "../x"})
	if !errors.Is(err, errs.ErrNotFound) || !strings.Contains(err.Error(), `no vm "nobody"`) || len(u.VMs) != 1 || u.Images != nil {
		t.Errorf("%+v, %v", u, err)
	}
	is("gone alone", u.Total.Total(), 1)
}
