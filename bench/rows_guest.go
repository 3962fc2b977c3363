package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// rowWork has guests work on a root of two layers, and on a flat one. Each sample has a clone of its own, so that none
// finds what another has left.
func rowWork(x *trial) error {
	b, err := x.imageBuilder()
	if err != nil {
		return err
	}
	if os.Getuid() != 0 {
		return notRun("not root, who alone can make the image")
	}
	image := filepath.Join(x.dir, "image.tar")
	if err := x.tool("scripts/workload.sh", b.layout, image); err != nil {
		return err
	}
	if _, err := x.noid("image", "import", "tar:"+image, "work"); err != nil {
		return err
	}
	if err := os.Remove(image); err != nil {
		return err
	}
	layered, err := x.atRest()
	if err != nil {
		return err
	}
	flat, err := x.atRest("--flat")
	if err != nil {
		return err
	}
	for _, task := range []string{"unpack", "compile", "install"} {
		side := func(from string) func(int) (float64, error) {
			return func(int) (float64, error) {
				flush(x.dir)
				return x.worked(from, "/srv/"+task)
			}
		}
		as, bs, err := x.pairs(side(layered), side(flat))
		if err != nil {
			return err
		}
		x.add(result{Name: fmt.Sprintf("%s, %s", x.r.what, task), A: as, B: bs})
	}
	return nil
}

// atRest is a checkpoint, VM@ID, of a VM of the image whose guest has nothing to do.
func (x *trial) atRest(more ...string) (string, error) {
	name, err := x.create(idleMiB, append([]string{"--image", "work"}, more...)...)
	if err != nil {
		return "", err
	}
	// It fails where a unit has failed, which is no matter.
	if _, err := x.noid("exec", name, "--", "sh", "-c", "systemctl is-system-running --wait || :; sync; echo 3 >/proc/sys/vm/drop_caches"); err != nil {
		return "", err
	}
	t, err := x.checkpoint(name)
	return name + "@" + t.id, errors.Join(err, x.destroy(name))
}

// worked is how long a program takes in a clone of a checkpoint.
func (x *trial) worked(from, program string) (float64, error) {
	name := x.name()
	if _, err := x.noid("fork", from, "--as", name); err != nil {
		return 0, err
	}
	_, err := x.noid("exec", name, "true")
	began := time.Now()
	if err == nil {
		_, err = x.noid("exec", name, program)
	}
	took := since(began)
	return took, errors.Join(err, x.destroy(name))
}
