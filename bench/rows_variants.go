package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// byHand is an exploration as a shell script does it: name, checkpoint and noid are $1, $2 and $3. It keeps what each
// variant has made, two at a time.
const byHand = `
one() {
  "$3" restore "$1" "$2" --as "hand-$4" && "$3" exec "hand-$4" -- sh -c "echo $4 >/root/token" && "$3" checkpoint "hand-$4" && "$3" destroy --checkpoints "hand-$4"
}
for n in 1 3 5 7; do
  one "$1" "$2" "$3" "$n" & first=$!
  one "$1" "$2" "$3" "$((n + 1))" & second=$!
  wait $first && wait $second || exit 1
done`

// rowVariants explores eight variants, two at a time, beside a shell that restores, runs, keeps and destroys each.
func rowVariants(x *trial) error {
	name, t, err := x.resting("")
	if err != nil {
		return err
	}
	as, bs, err := x.pairs(func(int) (float64, error) {
		out, took, err := x.timed("explore", "-n", "8", "--jobs", "2", name+"@"+t.id, "--", "sh", "-c", "echo {} >/root/token")
		if n := strings.Count(out, "\n"); err == nil && n < 8 {
			err = fmt.Errorf("explore shows %d lines: %q", n, out)
		}
		return took, err
	}, func(int) (float64, error) {
		cmd := exec.CommandContext(x.ctx, "sh", "-c", byHand, "sh", name, t.id, x.b.noid)
		cmd.Env = x.command("version").Env
		began := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			return 0, fmt.Errorf("by hand: %w: %s", err, out)
		}
		return since(began), nil
	})
	if err == nil {
		x.add(result{A: as, B: bs})
	}
	return err
}

// rowPageCache restores a checkpoint that is not in the page cache, beside one that is, to the first command's answer.
func rowPageCache(x *trial) error {
	name, t, err := x.resting("kept")
	if err != nil {
		return err
	}
	restored := func() (float64, error) {
		clone, began := x.name(), time.Now()
		if _, err := x.noid("restore", name, t.id, "--as", clone); err != nil {
			return 0, err
		}
		if err := x.want(clone, "kept"); err != nil {
			return 0, err
		}
		took := since(began)
		return took, x.destroy(clone)
	}
	for range 2 { // the first one may make what the others begin with
		if _, err := restored(); err != nil {
			return err
		}
	}
	as, bs, err := x.pairs(func(int) (float64, error) {
		for _, files := range []string{filepath.Join(x.home, "storage/checkpoints", name, t.id, "*"), x.b.dir + ".image"} {
			if err := dropPages(files); err != nil {
				return 0, err
			}
		}
		return restored()
	}, func(int) (float64, error) { return restored() })
	if err == nil {
		x.add(result{A: as, B: bs})
	}
	return err
}

// dropPages takes the files that match pattern out of the page cache, such as the one that the bench's file system is
// in. Other files stay.
func dropPages(pattern string) error {
	paths, err := filepath.Glob(pattern)
	for _, path := range paths {
		f, openErr := os.Open(path)
		if openErr != nil {
			return openErr
		}
		if err == nil {
			err = unix.Fsync(int(f.Fd())) // what is not written back stays
		}
		if err == nil {
			err = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
		}
		f.Close()
	}
	return err
}

// What rowGivenBack has a guest use and give back, the guest's memory, and the time in which the guest's kernel reports all
// that is free: it says half a minute itself (mm/page_reporting.c).
const (
	givenMiB     = 1536
	givenBackMiB = 2048
	givenBack    = 30 * time.Second
)

// rowGivenBack has a guest fill a file system in its memory and empty it again. Beside what the next checkpoint keeps
// that no earlier one has is the memory that the guest says is in use.
func rowGivenBack(x *trial) error {
	name, err := x.create(givenBackMiB)
	if err != nil {
		return err
	}
	before, err := x.checkpoint(name)
	if err != nil {
		return err
	}
	fill := fmt.Sprintf("mkdir /root/m && mount -t tmpfs -o size=%dM none /root/m && dd if=/dev/urandom of=/root/m/f bs=1M count=%d 2>/dev/null && umount /root/m && echo 3 >/proc/sys/vm/drop_caches", givenMiB+64, givenMiB)
	if _, err := x.noid("exec", name, "--", "sh", "-c", fill); err != nil {
		return err
	}
	select {
	case <-time.After(givenBack):
	case <-x.ctx.Done():
		return x.ctx.Err()
	}
	var free, total int64
	out, err := x.noid("exec", name, "cat", "/proc/meminfo")
	if err != nil {
		return err
	}
	if _, err := fmt.Sscanf(out, "MemTotal: %d kB\nMemFree: %d kB", &total, &free); err != nil {
		return fmt.Errorf("/proc/meminfo says %q: %w", out, err)
	}
	after, err := x.checkpoint(name)
	if err != nil {
		return err
	}
	seen, own := map[uint64]bool{}, int64(0)
	for _, id := range []string{before.id, after.id} {
		if own, err = blocksOf(filepath.Join(x.home, "storage/checkpoints", name, id), seen); err != nil {
			return notRun("where files lie on the disk: %v", err)
		}
	}
	x.add(result{Unit: "MiB", A: []float64{float64(own) / (1 << 20)}, B: []float64{float64(total-free) / 1024}})
	return nil
}
