package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

const idleMiB = 512

// rowWhole times all of an idle checkpoint, the second of its VM and later ones.
func rowWhole(x *trial) error {
	return x.idlePairs(func(t taken) float64 { return t.whole })
}

// idlePairs takes idle checkpoints and bare snapshots in turns.
func (x *trial) idlePairs(of func(taken) float64) error {
	c, err := x.chain(idleMiB)
	if err != nil {
		return err
	}
	v, err := x.bareChain(idleMiB)
	if err != nil {
		return err
	}
	as, bs, err := x.pairs(func(int) (float64, error) {
		return awake(c, func() (float64, error) {
			t, err := c.idle()
			return of(t), err
		})
	}, func(int) (float64, error) {
		return awake(v, func() (float64, error) {
			t, err := v.idle()
			return of(t), err
		})
	})
	if err != nil {
		return err
	}
	x.add(result{Name: fmt.Sprintf("%s, %d MiB", x.r.what, idleMiB), A: as, B: bs})
	return nil
}

// A taker is a chain, noid's or a bare one.
type taker interface {
	sleeper
	take() (taken, error)
	keep(taken) error
}

// rowGap has guests write to their consoles without an end: the longest silence is how long one stood still.
func rowGap(x *trial) error {
	c, err := x.chain(idleMiB)
	if err != nil {
		return err
	}
	v, err := x.bareChain(idleMiB)
	if err != nil {
		return err
	}
	side := func(c taker, dir string) func(int) (float64, error) {
		return func(int) (float64, error) {
			return awake(c, func() (float64, error) {
				var t taken
				gap, err := x.silence(dir, func() (err error) {
					t, err = c.take()
					return err
				})
				return gap, errors.Join(err, c.keep(t))
			})
		}
	}
	as, bs, err := x.pairs(side(c, x.vmDir(c.name)), side(v, v.dir))
	if err != nil {
		return err
	}
	x.add(result{Name: fmt.Sprintf("%s, %d MiB", x.r.what, idleMiB), A: as, B: bs})
	return nil
}

// rowLength has two VMs that differ in the length of their disks, not in what these hold.
func rowLength(x *trial) error {
	var sides [2]func(int) (float64, error)
	for i, length := range []int64{500 << 30, 1 << 30} {
		disk := filepath.Join(x.dir, fmt.Sprintf("disk%d.ext4", i))
		if err := reflink(x.ctx, disk, x.b.guest.disk(x.linux)); err != nil {
			return err
		}
		if err := os.Truncate(disk, length); err != nil {
			return err
		}
		c, err := x.chain(cloneMiB, "--rootfs", disk)
		if err != nil {
			return err
		}
		sides[i] = func(int) (float64, error) {
			return awake(c, func() (float64, error) {
				t, err := c.idle()
				return t.whole, err
			})
		}
	}
	as, bs, err := x.pairs(sides[0], sides[1])
	if err != nil {
		return err
	}
	x.add(result{A: as, B: bs})
	return nil
}
