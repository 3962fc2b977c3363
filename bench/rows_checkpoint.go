package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

func rowIdle(x *trial) error {
	c, err := x.chain(2048)
	if err != nil {
		return err
	}
	file := filepath.Join(x.dir, "dd")
	as, bs, err := x.pairs(func(int) (float64, error) {
		return awake(c, func() (float64, error) {
			t, err := c.next(nil)
			return t.down, err
		})
	}, func(int) (float64, error) {
		began := time.Now()
		out, err := exec.CommandContext(x.ctx, "dd", "if=/dev/zero", "of="+file, "bs=1M", "count=2048", "conv=fsync").CombinedOutput()
		took := since(began)
		if err != nil {
			return 0, fmt.Errorf("dd: %w: %s", err, out)
		}
		return took, os.Remove(file)
	})
	if err != nil {
		return err
	}
	x.add(result{A: as, B: bs})
	return nil
}

func rowSizes(x *trial) error {
	var sides [2]func(int) (float64, error)
	for i, mib := range []int{2048, 256} {
		c, err := x.chain(mib)
		if err != nil {
			return err
		}
		sides[i] = func(int) (float64, error) {
			return awake(c, func() (float64, error) {
				t, err := c.next(nil)
				return t.down, err
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

func rowDirty(x *trial) error {
	c, err := x.chain(512)
	if err != nil {
		return err
	}
	v, err := x.bareChain(512)
	if err != nil {
		return err
	}
	for _, mib := range []int{16, 64, 256} {
		as, bs, err := x.pairs(func(int) (float64, error) {
			return awake(c, func() (float64, error) {
				t, err := c.next(func() error { return x.dirty(c.name, mib) })
				return t.down, err
			})
		}, func(int) (float64, error) {
			return awake(v, func() (float64, error) {
				t, err := v.next(func() error { return v.dirty(mib) })
				return t.down, err
			})
		})
		if err != nil {
			return fmt.Errorf("%d MiB dirty: %w", mib, err)
		}
		x.add(result{Name: x.r.what + fmt.Sprintf(", %d MiB dirty", mib), A: as, B: bs})
	}
	return nil
}

func rowFirst(x *trial) error {
	const mib, used = 2048, 205
	as, bs, err := x.pairs(func(int) (float64, error) {
		name, err := x.create(mib)
		if err != nil {
			return 0, err
		}
		if err := errors.Join(x.dirty(name, used), x.set(name, name)); err != nil {
			return 0, err
		}
		t, err := x.checkpoint(name)
		if err != nil {
			return 0, err
		}
		return t.whole, errors.Join(x.check(name, t.id, name), x.destroy("--checkpoints", name))
	}, func(int) (float64, error) {
		v, err := x.boot(mib)
		if err != nil {
			return 0, err
		}
		defer v.remove()
		if err := errors.Join(v.dirty(used), v.set("full")); err != nil {
			return 0, err
		}
		snap, err := v.snapDir("")
		if err != nil {
			return 0, err
		}
		defer os.RemoveAll(snap)
		took, err := v.saveFull(snap)
		if err != nil {
			return 0, err
		}
		return took, x.checkBare(mib, snap, "full")
	})
	if err != nil {
		return err
	}
	x.add(result{Name: x.r.what + " (the command beside pause, Full, resume)", A: as, B: bs})
	return nil
}

// rowWritten has the tiny guest write to its memory, all of which must be saved, and Linux to its disk.
func rowWritten(x *trial) error {
	write, what, mib := func(name string) error { return x.dirty(name, 1024) }, "to its memory, 2 GiB", 2048
	if x.linux {
		disk := filepath.Join(x.dir, "large.ext4")
		if err := enlarge(x.ctx, disk, x.b.guest.rootfs, 2<<30); err != nil {
			return notRun("no larger disk: %v", err)
		}
		if _, err := x.noid("config", "set", "rootfs", disk); err != nil {
			return err
		}
		write, what, mib = func(name string) error {
			_, err := x.noid("exec", name, "--", "dd", "if=/dev/zero", "of=/root/large", "bs=1M", "count=1024")
			return err
		}, "to its disk, 512 MiB", 512
	}
	c, err := x.chain(mib)
	if err != nil {
		return err
	}
	as, bs, err := x.pairs(func(int) (float64, error) {
		return awake(c, func() (float64, error) {
			t, err := c.next(func() error { return write(c.name) })
			return t.down, err
		})
	}, func(int) (float64, error) {
		return awake(c, func() (float64, error) {
			if _, err := c.next(nil); err != nil { // what the write has left
				return 0, err
			}
			t, err := c.next(nil)
			return t.down, err
		})
	})
	if err != nil {
		return err
	}
	x.add(result{Name: x.r.what, Note: what, A: as, B: bs})
	return nil
}

// enlarge makes dst a copy of an ext4 image with room up to size bytes.
func enlarge(ctx context.Context, dst, src string, size int64) error {
	if err := reflink(ctx, dst, src); err != nil {
		return err
	}
	if err := os.Truncate(dst, size); err != nil {
		return err
	}
	exec.CommandContext(ctx, "e2fsck", "-fy", dst).Run() // 1: it mended something, such as the time of the last mount
	if out, err := exec.CommandContext(ctx, "resize2fs", dst).CombinedOutput(); err != nil {
		return fmt.Errorf("resize2fs: %w: %s", err, out)
	}
	return nil
}

// rowChain compares the first checkpoints after the very first, which holds all memory, with the last.
func rowChain(x *trial) error {
	const length, pages, mib = 100, 1000, 128
	n := min(x.b.pairs, length/2-1)
	name, err := x.create(mib)
	if err != nil {
		return err
	}
	var made []taken
	token := func(i int) string { return fmt.Sprintf("link-%d", i) }
	for i := range length {
		if err := x.set(name, token(i)); err != nil {
			return err
		}
		if err := x.ask(name, fmt.Sprintf("p %d", pages), fmt.Sprintf("dirty %d", pages)); err != nil {
			return err
		}
		t, err := x.checkpoint(name)
		if err != nil {
			return fmt.Errorf("checkpoint %d: %w", i+1, err)
		}
		made = append(made, t)
	}
	if err := x.rest(name); err != nil {
		return err
	}
	var down, whole [2][]float64
	first := [2]int{length - n, 1}
	for side, from := range first {
		for _, t := range made[from : from+n] {
			down[side], whole[side] = append(down[side], t.down), append(whole[side], t.whole)
		}
	}
	restore := func(from int) func(int) (float64, error) {
		return func(i int) (float64, error) { return x.restored(name, made[from+i].id, token(from+i)) }
	}
	as, bs, err := x.several(n, restore(first[0]), restore(first[1]))
	if err != nil {
		return err
	}
	which := fmt.Sprintf("%d to %d beside 2 to %d", length-n+1, length, n+1)
	x.add(result{Name: x.r.what + ": downtime", Note: which, A: down[0], B: down[1]})
	x.add(result{Name: x.r.what + ": whole checkpoint", Note: which, A: whole[0], B: whole[1]})
	x.add(result{Name: x.r.what + ": restore --as to first answer", Note: which, A: as, B: bs})
	return nil
}

// restored restores a checkpoint as a new VM and returns how long that took to the guest's first answer, in
// milliseconds.
func (x *trial) restored(name, id, token string) (float64, error) {
	clone := x.name()
	began := time.Now()
	if _, err := x.noid("restore", name, id, "--as", clone); err != nil {
		return 0, err
	}
	if err := x.want(clone, token); err != nil {
		return 0, err
	}
	took := since(began)
	return took, x.destroy(clone)
}
