package main

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// rowRun runs a command in a clone that goes away, beside the three commands that this is one for.
func rowRun(x *trial) error {
	name, t, err := x.resting("")
	if err != nil {
		return err
	}
	return x.runs(name+"@"+t.id, func(clone string) []string { return []string{"restore", name, t.id, "--as", clone} })
}

// rowRunImage is rowRun of an image, which has run before.
func rowRunImage(x *trial) error {
	if err := x.importBusybox(); err != nil {
		return err
	}
	mem := strconv.Itoa(bootMiB)
	return x.runs("app", func(name string) []string { return []string{"create", name, "--image", "app", "--mem", mem, "--wait"} }, "--mem", mem)
}

// importBusybox has an image "app" of a static busybox, with sh and true.
func (x *trial) importBusybox() error {
	program, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return notRun("no busybox: %v", err)
	}
	dir, err := os.MkdirTemp(x.home, "image")
	if err != nil {
		return err
	}
	err = os.Mkdir(filepath.Join(dir, "bin"), 0o755)
	for _, name := range []string{"sh", "true"} {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, "bin", name), program, 0o755))
	}
	if err != nil {
		return err
	}
	_, err = x.noid("image", "import", "dir:"+dir, "app")
	return err
}

// runs takes in turns 'run --rm' of a VM of what, with more flags, and three commands, of which the first makes a VM of
// that name.
func (x *trial) runs(what string, made func(name string) []string, more ...string) error {
	run := append(append([]string{"run", "--rm"}, more...), what, "true")
	for range 2 { // the first one may make what the others begin with
		if _, err := x.noid(run...); err != nil {
			return err
		}
	}
	as, bs, err := x.pairs(func(int) (float64, error) {
		_, took, err := x.timed(run...)
		return took, err
	}, func(int) (float64, error) {
		name, began := x.name(), time.Now()
		for _, args := range [][]string{made(name), {"exec", name, "true"}, {"destroy", name}} {
			if _, err := x.noid(args...); err != nil {
				return 0, err
			}
		}
		return since(began), nil
	})
	if err != nil {
		return err
	}
	x.add(result{A: as, B: bs})
	return nil
}
