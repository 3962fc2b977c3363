package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// on is the trial on a file system of the bench's own of kind, with a home there.
func (x *trial) on(kind string) (*trial, error) {
	if kindOf(x.dir) == kind {
		return x, nil
	}
	dir := filepath.Join(filepath.Dir(x.b.dir), kind)
	if _, err := os.Lstat(dir); err != nil {
		if _, err := x.b.fileSystem(x.ctx, dir, kind); err != nil {
			return nil, err
		}
	}
	if got := kindOf(dir); got != kind {
		return nil, notRun("no %s here, only %s", kind, got)
	}
	dir, err := os.MkdirTemp(dir, "row")
	if err != nil {
		return nil, err
	}
	y := &trial{setting: x.setting, ctx: x.ctx, b: x.b, r: x.r, dir: dir, home: filepath.Join(dir, "home")}
	x.also = append(x.also, y)
	return y, y.openHome(y.home)
}

// importLarge has an image of 1 GiB in the trial's home, with a program for its guests.
func (x *trial) importLarge() error {
	path := filepath.Join(x.dir, "image.tar")
	defer os.Remove(path)
	if err := largeTar(x.ctx, path); err != nil {
		return err
	}
	_, err := x.noid("image", "import", "tar:"+path, "large")
	return err
}

// filledRootfs makes a root file system of 64 MiB that is full of files.
func (x *trial) filledRootfs() (string, error) {
	dir, path := filepath.Join(x.dir, "tree"), filepath.Join(x.dir, "rootfs.ext4")
	program, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return "", notRun("no busybox: %v", err)
	}
	err = errors.Join(os.MkdirAll(filepath.Join(dir, "bin"), 0o755), os.WriteFile(filepath.Join(dir, "bin/sh"), program, 0o755))
	for i := range 50 {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, fmt.Sprint("file", i)), random(1<<20, byte(i)), 0o644))
	}
	if err != nil {
		return "", err
	}
	if out, err := exec.CommandContext(x.ctx, "mke2fs", "-q", "-F", "-t", "ext4", "-d", dir, path, "64M").CombinedOutput(); err != nil {
		return "", fmt.Errorf("mke2fs: %w: %s", err, out)
	}
	return path, nil
}

// rowCreate makes VMs of a cached image on plain ext4, and of a root file system, which is copied. Neither is waited
// for.
func rowCreate(x *trial) error { return x.createOf(measured) }

// rowCreateBytes counts what that writes.
func rowCreateBytes(x *trial) error { return x.createOf(written) }

type measure func(x *trial, do func() error) (float64, error)

func measured(_ *trial, do func() error) (float64, error) {
	began := time.Now()
	err := do()
	return since(began), err
}

// written is what noid and the processes that it waits for write to files, in MiB.
func written(_ *trial, do func() error) (float64, error) {
	before, err := ownWrites()
	if err != nil {
		return 0, err
	}
	if err := do(); err != nil {
		return 0, err
	}
	after, err := ownWrites()
	return float64(after-before) / (1 << 20), err
}

// ownWrites is how many bytes this process and those that it has waited for have had written.
func ownWrites() (int64, error) {
	data, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if n, ok := strings.CutPrefix(line, "write_bytes: "); ok {
			return strconv.ParseInt(strings.TrimSpace(n), 10, 64)
		}
	}
	return 0, errors.New("/proc/self/io has no write_bytes")
}

func (x *trial) createOf(m measure) error {
	x, err := x.on("ext4")
	if err != nil {
		return err
	}
	if err := x.importLarge(); err != nil {
		return err
	}
	rootfs, err := x.filledRootfs()
	if err != nil {
		return err
	}
	of := map[string][]string{"image": {"--image", "large"}, "rootfs": {"--rootfs", rootfs}}
	for _, source := range of { // warm, from here on
		name, err := x.create(bootMiB, source...)
		if err := errors.Join(err, x.destroy(name)); err != nil {
			return err
		}
	}
	for _, how := range []string{"cold", "warm"} {
		side := func(source string) func(int) (float64, error) {
			args := append([]string{"--mem", fmt.Sprint(bootMiB)}, of[source]...)
			if how == "cold" {
				args = append(args, "--cold")
			}
			return func(int) (float64, error) {
				flush(x.dir)
				name := x.name()
				v, err := m(x, func() error {
					_, err := x.noid(append([]string{"create", name}, args...)...)
					return err
				})
				return v, errors.Join(err, x.destroy(name))
			}
		}
		as, bs, err := x.pairs(side("image"), side("rootfs"))
		if err != nil {
			return err
		}
		r := result{Name: x.r.what, Note: how, A: as, B: bs}
		if x.r.goal.Kind == "value" {
			r.Unit = "MiB"
		}
		x.add(r)
	}
	return nil
}

// rowHosts has the same VM with a base on plain ext4 and on btrfs: an idle checkpoint of it, and a clone's first answer.
func rowHosts(x *trial) error {
	var of [2]*chain
	for i, kind := range []string{"ext4", "btrfs"} {
		y, err := x.on(kind)
		if err != nil {
			return err
		}
		if err := y.importLarge(); err != nil {
			return err
		}
		if of[i], err = y.chain(idleMiB, "--image", "large"); err != nil {
			return err
		}
	}
	checkpoint := func(c *chain) func(int) (float64, error) {
		return func(int) (float64, error) {
			flush(c.x.dir)
			return awake(c, func() (float64, error) {
				t, err := c.idle()
				return t.whole, err
			})
		}
	}
	restore := func(c *chain) func(int) (float64, error) {
		return func(int) (float64, error) {
			flush(c.x.dir)
			return c.x.restored(c.name, c.last, fmt.Sprintf("%s-%d", c.name, c.n))
		}
	}
	for _, part := range []struct {
		what string
		side func(*chain) func(int) (float64, error)
	}{{"idle checkpoint", checkpoint}, {"restore --as to first answer", restore}} {
		as, bs, err := x.pairs(part.side(of[0]), part.side(of[1]))
		if err != nil {
			return err
		}
		x.add(result{Name: fmt.Sprintf("%s %s, %d MiB", part.what, x.r.what, idleMiB), A: as, B: bs})
	}
	return nil
}
