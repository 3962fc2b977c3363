package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

const (
	plainCount   = 100 // checkpoints
	plainMiB     = 512
	plainChanged = 4 // MiB of the guest's memory before each
)

// rowPlain makes many checkpoints on plain ext4 beside btrfs, with the same changed before each, and restores the last
// ones. Nothing that noid does here asks whether its user is root.
func rowPlain(x *trial) error {
	var sides [2]*trial
	for i, kind := range []string{"ext4", "btrfs"} {
		y, err := x.on(kind)
		if err == nil {
			sides[i], err = y, y.createAs("v", plainMiB)
		}
		if err == nil {
			_, err = y.checkpoint("v") // all of it
		}
		if err != nil {
			return err
		}
	}
	var down, whole [2][]float64
	var last [2]string
	whole0, err := bytesUnder(sides[0].checkpoints())
	if err != nil {
		return err
	}
	side := func(n int) func(int) (float64, error) {
		return func(i int) (float64, error) {
			y := sides[n]
			change := fmt.Sprintf("dd if=/dev/urandom of=/dev/shm/f bs=1M count=%d conv=notrunc 2>/dev/null && echo %d >/root/token", plainChanged, i)
			if _, err := y.noid("exec", "v", "--", "sh", "-c", change); err != nil {
				return 0, err
			}
			t, err := y.checkpoint("v")
			down[n], whole[n], last[n] = append(down[n], t.down), append(whole[n], t.whole), t.id
			return t.whole, err
		}
	}
	if _, _, err := x.several(plainCount, side(0), side(1)); err != nil {
		return err
	}
	x.add(result{Name: "downtime, " + x.r.what, A: down[0], B: down[1], Goal: ratio(1.3)})
	x.add(result{Name: "whole command, " + x.r.what, A: whole[0], B: whole[1], Goal: ratio(1.5)})
	if err := x.plainBytes(sides, whole0); err != nil {
		return err
	}
	token := strconv.Itoa(plainCount - 1)
	if err := errors.Join(sides[0].rest("v"), sides[1].rest("v")); err != nil {
		return err
	}
	as, bs, err := x.pairs(func(int) (float64, error) { return sides[0].restored("v", last[0], token) },
		func(int) (float64, error) { return sides[1].restored("v", last[1], token) })
	if err == nil {
		x.add(result{Name: "restore to first exec, " + x.r.what, A: as, B: bs, Goal: ratio(2)})
	}
	return err
}

// plainBytes reports what all checkpoints but the first, which took first bytes, take on ext4: beside what was changed
// in the guest on purpose, and beside btrfs.
func (x *trial) plainBytes(sides [2]*trial, first int64) error {
	all, err := bytesUnder(sides[0].checkpoints())
	if err != nil {
		return err
	}
	dirs, err := filepath.Glob(filepath.Join(sides[1].checkpoints(), "*"))
	if err != nil {
		return err
	}
	seen, shared := map[uint64]bool{}, int64(0)
	for _, dir := range dirs {
		added, err := blocksOf(dir, seen)
		if err != nil {
			return err
		}
		shared += added
	}
	const mib = 1 << 20
	x.add(result{Name: "bytes after the first, beside those changed, on plain ext4", Unit: "MiB", A: []float64{float64(all-first) / mib}, B: []float64{plainCount * plainChanged}, Goal: ratio(2)})
	x.add(result{Name: "bytes of all, " + x.r.what, Unit: "MiB", A: []float64{float64(all) / mib}, B: []float64{float64(shared) / mib}})
	return nil
}

func (x *trial) checkpoints() string { return filepath.Join(x.home, "storage/checkpoints/v") }

// bytesUnder returns how many bytes of disk the files in dir and below it take.
func bytesUnder(dir string) (sum int64, err error) {
	err = filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil {
			sum += info.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return err
	})
	return sum, err
}
