package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// pairOfSources makes the same saved state on both sides: a checkpoint of a VM of noid's, which rests, and a bare
// snapshot.
func (x *trial) pairOfSources(mib int) (name, id, snap string, err error) {
	if name, err = x.create(mib); err != nil {
		return
	}
	if err = x.set(name, "kept"); err != nil {
		return
	}
	t, err := x.checkpoint(name)
	if err != nil {
		return
	}
	if err = x.rest(name); err != nil {
		return
	}
	v, err := x.boot(mib)
	if err != nil {
		return
	}
	defer v.remove()
	if err = v.set("kept"); err != nil {
		return
	}
	if snap, err = v.snapDir(""); err != nil {
		return
	}
	_, err = v.save(snap)
	return name, t.id, snap, err
}

const cloneMiB = 256

func rowRestore(x *trial) error {
	name, id, snap, err := x.pairOfSources(cloneMiB)
	if err != nil {
		return err
	}
	as, bs, err := x.pairs(func(int) (float64, error) {
		return x.restored(name, id, "kept")
	}, func(int) (float64, error) {
		v, err := x.fromSnap(cloneMiB, snap)
		if err != nil {
			return 0, err
		}
		defer v.remove()
		began := time.Now()
		if err := v.load(snap); err != nil {
			return 0, err
		}
		err = v.want("kept")
		return since(began), err
	})
	if err != nil {
		return err
	}
	x.add(result{Name: fmt.Sprintf("%s, %d MiB", x.r.what, cloneMiB), A: as, B: bs})
	return nil
}

func rowFork(x *trial) error {
	if !x.knows("fork", "--prefix") {
		return notRun("no verb fork")
	}
	const copies = 10
	name, _, snap, err := x.pairOfSources(cloneMiB)
	if err != nil {
		return err
	}
	as, bs, err := x.pairs(func(i int) (float64, error) {
		return awake(vm{x, name}, func() (float64, error) {
			began := time.Now()
			out, err := x.noid("fork", name, "-n", strconv.Itoa(copies), "--prefix", fmt.Sprintf("fork%d-", i))
			if err != nil {
				return 0, err
			}
			names := strings.Fields(out)
			if len(names) != copies {
				return 0, fmt.Errorf("fork -n %d prints %q", copies, out)
			}
			for _, n := range names {
				if err := x.want(n, "kept"); err != nil {
					return 0, err
				}
			}
			took := since(began)
			return took, x.destroy(names...)
		})
	}, func(int) (float64, error) {
		var all []*bare
		defer func() {
			for _, v := range all {
				v.remove()
			}
		}()
		for range copies {
			v, err := x.fromSnap(cloneMiB, snap)
			if err != nil {
				return 0, err
			}
			all = append(all, v)
		}
		began := time.Now()
		for _, v := range all {
			if err := errors.Join(v.load(snap), v.want("kept")); err != nil {
				return 0, err
			}
		}
		return since(began), nil
	})
	if err != nil {
		return err
	}
	x.add(result{Name: fmt.Sprintf("%s, %d MiB", x.r.what, cloneMiB), A: as, B: bs})
	return nil
}

// rowFirstExec is rowRestore for a user who has no agent: the bare guest's first answer is its shell's.
func rowFirstExec(x *trial) error {
	name, id, snap, err := x.pairOfSources(cloneMiB)
	if err != nil {
		return err
	}
	as, bs, err := x.pairs(func(int) (float64, error) {
		return x.restored(name, id, "kept")
	}, func(int) (float64, error) {
		v, err := x.fromSnap(cloneMiB, snap)
		if err != nil {
			return 0, err
		}
		defer v.remove()
		began := time.Now()
		if err := v.load(snap); err != nil {
			return 0, err
		}
		_, err = x.line(v.dir, "$(cat /root/token)", "kept")
		return since(began), err
	})
	if err != nil {
		return err
	}
	x.add(result{Name: fmt.Sprintf("%s, %d MiB", x.r.what, cloneMiB), A: as, B: bs})
	return nil
}
