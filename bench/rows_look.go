package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// rowLook runs a command in a checkpoint, beside the three commands that this is one for.
func rowLook(x *trial) error {
	name, t, err := x.resting("kept")
	if err != nil {
		return err
	}
	kept := func(vm string) error {
		out, err := x.noid("exec", vm, "cat", "/root/token")
		return same(vm, strings.TrimSpace(out), "kept", err)
	}
	as, bs, err := x.pairs(func(int) (float64, error) {
		began := time.Now()
		err := kept(name + "@" + t.id)
		return since(began), err
	}, func(int) (float64, error) {
		clone, began := x.name(), time.Now()
		if _, err := x.noid("restore", name, t.id, "--as", clone); err != nil {
			return 0, err
		}
		if err := kept(clone); err != nil {
			return 0, err
		}
		err := x.destroy(clone)
		return since(began), err
	})
	if err != nil {
		return err
	}
	x.add(result{A: as, B: bs})
	return nil
}

// What rowDiff compares.
const (
	diffFiles   = 30_000
	diffChanged = 10
)

func rowDiff(x *trial) error { return x.diffs("--flat") }

func rowDiffLayers(x *trial) error { return x.diffs() }

// diffs compares two checkpoints of a VM of an image with many files, beside a walk over these in the guest.
func (x *trial) diffs(more ...string) error {
	if err := x.importMany(); err != nil {
		return err
	}
	name, err := x.create(diffMiB, append([]string{"--image", "many"}, more...)...)
	if err != nil {
		return err
	}
	before, err := x.checkpoint(name)
	if err != nil {
		return err
	}
	if _, err := x.noid("exec", name, "--", "sh", "-c", fmt.Sprintf("for i in $(seq %d); do echo new >/many/d$i/f$i; done", diffChanged)); err != nil {
		return err
	}
	after, err := x.checkpoint(name)
	if err != nil {
		return err
	}
	as, bs, err := x.pairs(func(int) (float64, error) {
		out, took, err := x.timed("diff", "--name-only", name+"@"+before.id, name+"@"+after.id)
		if n := strings.Count(out, "\n"); err == nil && n != diffChanged {
			err = fmt.Errorf("diff shows %d changes: %q", n, out)
		}
		return took, err
	}, func(int) (float64, error) {
		return x.prints(diffFiles, "exec", name, "--", "ls", "-lanR", "/many")
	})
	if err != nil {
		return err
	}
	x.add(result{A: as, B: bs})
	return nil
}

// diffMiB is the memory of a guest that lists many files.
const diffMiB = 256

// importMany has an image "many" of a static busybox and as many files as diffFiles says, 100 in a directory.
func (x *trial) importMany() error {
	program, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return notRun("no busybox: %v", err)
	}
	dir, err := os.MkdirTemp(x.home, "image")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	err = os.MkdirAll(filepath.Join(dir, "bin"), 0o755)
	for _, name := range []string{"sh", "ls", "seq"} {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, "bin", name), program, 0o755))
	}
	for i := range diffFiles {
		sub := filepath.Join(dir, "many", fmt.Sprintf("d%d", i%(diffFiles/100)))
		err = errors.Join(err, os.MkdirAll(sub, 0o755), os.WriteFile(filepath.Join(sub, fmt.Sprintf("f%d", i)), []byte("old\n"), 0o644))
	}
	if err == nil {
		_, err = x.noid("image", "import", "dir:"+dir, "many")
	}
	return err
}
