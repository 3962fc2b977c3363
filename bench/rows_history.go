package main

import (
	_ "embed"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"noid/internal/checkpoint"
	"noid/internal/home"
)

// rowHistory has two VMs, one with 10,000 automatic checkpoints and one with ten: all but one are records and hard links.
func rowHistory(x *trial) error {
	counts := map[string]int{"long": 10_000, "short": 10}
	newest := map[string]string{}
	if _, err := x.noid("config", "set", "auto_keep", "100000"); err != nil {
		return err
	}
	for name, count := range counts {
		if err := x.createAs(name, bootMiB); err != nil {
			return err
		}
		t, err := x.checkpoint(name)
		if err == nil {
			err = errors.Join(x.history(name, t.id, count), x.listed(count, "log", name))
		}
		if err != nil {
			return err
		}
		newest[name] = t.id
	}
	verb := func(args ...string) func(string) (float64, error) {
		return func(name string) (float64, error) {
			full := strings.Fields(strings.NewReplacer("NAME", name, "ID", newest[name]).Replace(strings.Join(args, " ")))
			_, took, err := x.timed(full...)
			return took, err
		}
	}
	for _, v := range []struct {
		what string
		run  func(name string) (float64, error)
	}{
		{"log -n 20", verb("log", "-n", "20", "NAME")},
		{"log", verb("log", "NAME")},
		{"exec", verb("exec", "NAME", "true")},
		{"checkpoint", verb("checkpoint", "NAME")},
		{"exec, with a checkpoint before it", func(name string) (float64, error) {
			if _, err := x.noid("auto", name, "exec"); err != nil {
				return 0, err
			}
			took, err := verb("exec", "NAME", "true")(name)
			_, off := x.noid("auto", name, "off")
			return took, errors.Join(err, off)
		}},
		{"undo", verb("undo", "NAME")},
		{"restore", verb("restore", "--no-backup", "NAME", "ID")},
		{"prune --dry-run", verb("prune", "NAME", "--keep-last", "100000", "--dry-run")},
	} {
		as, bs, err := x.pairs(func(int) (float64, error) { return v.run("long") }, func(int) (float64, error) { return v.run("short") })
		if err != nil {
			return fmt.Errorf("%s: %w", v.what, err)
		}
		x.add(result{Name: v.what + ", " + x.r.what, A: as, B: bs})
	}
	return nil
}

// history makes count-1 automatic checkpoints of name from before its checkpoint id, whose files they share by hard
// links: a chain.
func (x *trial) history(name, id string, count int) error {
	h, err := home.Open(x.home)
	if err != nil {
		return err
	}
	defer h.Close()
	c, err := h.LoadCheckpoint(name, id)
	if err != nil {
		return err
	}
	made := c.CreatedAt
	for i := 1; i < count; i++ {
		if i > 1 {
			c.Parent = name + "@" + c.ID
		}
		c.ID, c.CreatedAt = fmt.Sprintf("%08x", 0x10000000+i*7919), made.Add(time.Duration(i-count)*time.Second)
		c.Cause = checkpoint.Cause{By: checkpoint.ByAuto, What: fmt.Sprintf("make test-%d", i)}
		if err := another(h, id, c); err != nil {
			return err
		}
	}
	return nil
}

// session is what an agent ran in a guest, a turn a line.
//
//go:embed session.txt
var session string

// bytesEvery is of which turns rowSession counts bytes: to compare all memory and disk takes a while.
const bytesEvery = 5

// rowSession has two VMs go through the session turn by turn, one with a checkpoint before each turn and one without.
func rowSession(x *trial) error {
	auto, err := x.create(bootMiB, "--auto", "exec")
	if err != nil {
		return err
	}
	off, err := x.create(bootMiB, "--auto", "off")
	if err != nil {
		return err
	}
	turns := strings.Split(strings.TrimSpace(session), "\n")
	took := map[string]float64{}
	side := func(name string) func(int) (float64, error) {
		return func(i int) (float64, error) {
			_, ms, err := x.timed("exec", name, "--", "sh", "-c", turns[i])
			took[name] += ms
			return ms, err
		}
	}
	if _, _, err := x.several(len(turns), side(auto), side(off)); err != nil {
		return err
	}
	x.add(result{A: []float64{took[auto]}, B: []float64{took[off]}, Note: fmt.Sprintf("time of %d turns", len(turns))})
	return x.sessionBytes(auto, len(turns))
}

// sessionBytes counts what the checkpoints of name have on the disk, beside what was dirtied between them.
func (x *trial) sessionBytes(name string, turns int) error {
	h, err := home.Open(x.home)
	if err != nil {
		return err
	}
	defer h.Close()
	list, err := h.CheckpointLabels(x.ctx, name)
	if err != nil {
		return err
	}
	if len(list) != turns {
		return fmt.Errorf("%d turns have %d checkpoints", turns, len(list))
	}
	seen := map[uint64]bool{}
	var kept, dirtied []float64
	for i, c := range list {
		dir := h.CheckpointDir(name, c.ID)
		added, err := blocksOf(dir, seen)
		if err != nil {
			return notRun("where files lie on the disk: %v", err)
		}
		if i == 0 || i%bytesEvery != 0 {
			continue
		}
		var sum int64
		for _, file := range []string{savedMem, diskFile} {
			n, err := differing(filepath.Join(h.CheckpointDir(name, list[i-1].ID), file), filepath.Join(dir, file))
			if err != nil {
				return err
			}
			sum += n
		}
		kept, dirtied = append(kept, float64(added)/1024), append(dirtied, float64(sum)/1024)
	}
	x.add(result{Name: "bytes that a turn's checkpoint keeps, beside bytes dirtied since the one before", Unit: "KiB", A: kept, B: dirtied, Goal: ratio(2)})
	return nil
}

// rowUndo undoes a change, beside a restore in place of what was there before it, both to the next command's answer.
func rowUndo(x *trial) error {
	side := func(back func(name, id string) []string) (func(int) (float64, error), error) {
		name, err := x.create(bootMiB)
		if err != nil {
			return nil, err
		}
		return func(i int) (float64, error) {
			token := strconv.Itoa(i)
			if err := x.set(name, token); err != nil {
				return 0, err
			}
			t, err := x.checkpoint(name)
			if err == nil {
				err = x.set(name, "worse")
			}
			if err != nil {
				return 0, err
			}
			began := time.Now()
			if _, err := x.noid(back(name, t.id)...); err != nil {
				return 0, err
			}
			err = x.want(name, token)
			return since(began), err
		}, nil
	}
	a, err := side(func(name, _ string) []string { return []string{"undo", name} })
	if err != nil {
		return err
	}
	b, err := side(func(name, id string) []string { return []string{"restore", name, id} })
	if err != nil {
		return err
	}
	as, bs, err := x.pairs(a, b)
	if err == nil {
		x.add(result{A: as, B: bs})
	}
	return err
}
