package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// imageBuilder builds an image of three layers, in OCI's layout, on either side.
type imageBuilder struct {
	x      *trial
	layout string
}

func (x *trial) imageBuilder() (*imageBuilder, error) {
	layout := os.Getenv("NOID_TEST_LAYERS")
	if layout == "" {
		return nil, notRun("no image: scripts/guest-env.sh makes one as root")
	}
	for _, program := range []string{"umoci", "mke2fs"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, notRun("no %s", program)
		}
	}
	return &imageBuilder{x, layout}, nil
}

// rowImage builds the image anew each time. Both sides write it back to the disk.
func rowImage(x *trial) error {
	b, err := x.imageBuilder()
	if err != nil {
		return err
	}
	timed := func(side func() (string, float64, error)) func(int) (float64, error) {
		return func(int) (float64, error) {
			base, took, err := side()
			return took, errors.Join(err, checkBase(base), b.remove())
		}
	}
	as, bs, err := x.several(x.b.pairs, timed(b.noid), timed(b.bare))
	if err != nil {
		return err
	}
	x.add(result{A: as, B: bs})
	return nil
}

// rowImageBytes counts what a base takes of the disk.
func rowImageBytes(x *trial) error {
	b, err := x.imageBuilder()
	if err != nil {
		return err
	}
	bytes := func(side func() (string, float64, error)) (float64, error) {
		base, _, err := side()
		if err != nil {
			return 0, err
		}
		var st syscall.Stat_t
		err = syscall.Stat(base, &st)
		return float64(st.Blocks * 512), errors.Join(err, b.remove())
	}
	own, err := bytes(b.noid)
	if err != nil {
		return err
	}
	bare, err := bytes(b.bare)
	if err != nil {
		return err
	}
	x.add(result{Unit: "bytes", A: []float64{own}, B: []float64{bare}})
	return nil
}

// noid pulls the image and returns the base.
func (b *imageBuilder) noid() (string, float64, error) {
	_, took, err := b.x.timed("image", "pull", "oci:"+b.layout)
	if err != nil {
		return "", 0, err
	}
	bases, err := filepath.Glob(filepath.Join(b.x.home, "images/*/base.ext4"))
	if err == nil && len(bases) != 1 {
		err = fmt.Errorf("the bases are %q", bases)
	}
	if err != nil {
		return "", 0, err
	}
	return bases[0], took, nil
}

// bare unpacks the image, has mke2fs make a file system of it, and writes that back.
func (b *imageBuilder) bare() (string, float64, error) {
	began := time.Now()
	base, err := b.flat()
	if err == nil {
		err = b.x.tool("sync", base)
	}
	return base, since(began), err
}

// flat is bare without the writing back. The file system has blocks of the size that noid's have.
func (b *imageBuilder) flat() (string, error) {
	bundle, base := filepath.Join(b.x.dir, "bundle"), filepath.Join(b.x.dir, "base.ext4")
	err := b.x.tool("umoci", "unpack", "--image", b.layout+":test", bundle)
	if err == nil {
		err = b.x.tool("mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-b", "4096", "-m", "0", "-d", filepath.Join(bundle, "rootfs"), base, "1G")
	}
	return base, err
}

func (b *imageBuilder) remove() error {
	return errors.Join(os.RemoveAll(filepath.Join(b.x.home, "images")), os.RemoveAll(filepath.Join(b.x.dir, "bundle")),
		os.RemoveAll(filepath.Join(b.x.dir, "base.ext4")))
}

func checkBase(path string) error {
	if out, err := exec.Command("e2fsck", "-fn", path).CombinedOutput(); path != "" && err != nil {
		return fmt.Errorf("e2fsck: %w: %s", err, out)
	}
	return nil
}

// rowImageMemory has an image of 60,000 files and one large one.
func rowImageMemory(x *trial) error {
	path := filepath.Join(x.dir, "image.tar")
	if err := largeTar(x.ctx, path); err != nil {
		return err
	}
	var peaks []float64
	for range min(3, x.b.pairs) {
		cmd := exec.CommandContext(x.ctx, x.b.noid, "image", "pull", "tar:"+path)
		cmd.Env = append(os.Environ(), "NOID_HOME="+x.home)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("noid image pull: %w: %s", err, out)
		}
		// At least what the bench itself had when it started noid: that is little.
		peaks = append(peaks, float64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)/1024)
		if err := os.RemoveAll(filepath.Join(x.home, "images")); err != nil {
			return err
		}
	}
	x.add(result{Unit: "MiB", A: peaks})
	return nil
}

// random is n bytes, the same for the same seed.
func random(n int, seed byte) []byte {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(data)
	return data
}

// largeTar writes a root file system of 1 GiB, with busybox where there is one.
func largeTar(ctx context.Context, path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	part := random(1<<20, 1)
	w := tar.NewWriter(f)
	if program, err := os.ReadFile("/bin/busybox"); err == nil {
		for _, name := range []string{"sh", "true", "cat"} {
			w.WriteHeader(&tar.Header{Name: "bin/" + name, Mode: 0o755, Size: int64(len(program))})
			if _, err := w.Write(program); err != nil {
				return err
			}
		}
	}
	if err := w.WriteHeader(&tar.Header{Name: "root/", Mode: 0o700}); err != nil {
		return err
	}
	for i := range 60_000 {
		if err := errors.Join(ctx.Err(), w.WriteHeader(&tar.Header{Name: fmt.Sprintf("usr/share/d%d/file%d", i/20, i), Mode: 0o644, Size: 7 << 10})); err != nil {
			return err
		}
		if _, err := w.Write(part[:7<<10]); err != nil {
			return err
		}
	}
	const rest = 600
	if err := w.WriteHeader(&tar.Header{Name: "large", Mode: 0o644, Size: rest << 20}); err != nil {
		return err
	}
	for range rest {
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	return w.Close()
}
