package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"time"
)

// rowPss looks at the VMMs alone.
func rowPss(x *trial) error {
	const mib = 512
	name, id, _, err := x.pairOfSources(mib)
	if err != nil {
		return err
	}
	clones, err := x.clones(10, name, id)
	if err != nil {
		return err
	}
	var shares []float64
	for _, clone := range clones {
		pid, err := x.pid(clone)
		if err != nil {
			return err
		}
		bytes, err := pss(pid)
		if err != nil {
			return err
		}
		shares = append(shares, 100*bytes/mib)
	}
	x.add(result{Name: fmt.Sprintf("%s, %d MiB", x.r.what, mib), Unit: "%", A: shares})
	return nil
}

// rowAllPss looks at all processes that work in a clone's directory: VMM and helper.
func rowAllPss(x *trial) error {
	const copies, mib = 5, 512
	name, id, snap, err := x.pairOfSources(mib)
	if err != nil {
		return err
	}
	clones, err := x.clones(copies, name, id)
	if err != nil {
		return err
	}
	var as, bs []float64
	for _, clone := range clones {
		sum, err := pss(x.working(x.vmDir(clone))...)
		if err != nil {
			return err
		}
		as = append(as, sum)
	}
	if err := x.destroy(clones...); err != nil {
		return err
	}
	var all []*bare
	for range copies {
		v, err := x.fromSnap(mib, snap)
		if err != nil {
			return err
		}
		defer v.remove()
		if err := v.load(snap); err != nil {
			return err
		}
		if err := v.want("kept"); err != nil {
			return err
		}
		all = append(all, v)
	}
	time.Sleep(settle)
	for _, v := range all {
		sum, err := pss(v.cmd.Process.Pid)
		if err != nil {
			return err
		}
		bs = append(bs, sum)
	}
	x.add(result{Name: fmt.Sprintf("%s, %d MiB", x.r.what, mib), Unit: "MiB", A: as, B: bs})
	return nil
}

// settle is how long clones are left alone before they are looked at.
const settle = 2 * time.Second

// clones restores checkpoint id of name, which it destroys, n times as new VMs, each of which answers.
func (x *trial) clones(n int, name, id string) (names []string, err error) {
	if err := errors.Join(x.wake(name), x.destroy(name)); err != nil { // the checkpoint stays
		return nil, err
	}
	for range n {
		clone := x.name()
		if _, err := x.noid("restore", name, id, "--as", clone); err != nil {
			return nil, err
		}
		if err := x.want(clone, "kept"); err != nil {
			return nil, err
		}
		names = append(names, clone)
	}
	time.Sleep(settle)
	return names, nil
}

var pssLine = regexp.MustCompile(`(?m)^Pss:\s+(\d+) kB$`)

// pss is the Pss of processes together, in MiB.
func pss(pids ...int) (mib float64, err error) {
	if len(pids) == 0 {
		return 0, fmt.Errorf("no process to look at")
	}
	for _, pid := range pids {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		match := pssLine.FindSubmatch(data)
		if err != nil || match == nil {
			return 0, fmt.Errorf("no Pss of %d: %v", pid, err)
		}
		kib, err := strconv.ParseFloat(string(match[1]), 64)
		if err != nil {
			return 0, err
		}
		mib += kib / 1024
	}
	return mib, nil
}
