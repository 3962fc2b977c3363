package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// pairOfSources makes the same saved state on both sides: a checkpoint of a VM of noid's, which rests, and a bare snapshot.
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

var pssLine = regexp.MustCompile(`(?m)^Pss:\s+(\d+) kB$`)

func rowPss(x *trial) error {
	const copies, mib = 10, 512
	name, err := x.create(mib)
	if err != nil {
		return err
	}
	if err := x.set(name, "kept"); err != nil {
		return err
	}
	t, err := x.checkpoint(name)
	if err != nil {
		return err
	}
	if err := x.destroy(name); err != nil { // the checkpoint stays
		return err
	}
	var clones []string
	for range copies {
		clone := x.name()
		if _, err := x.noid("restore", name, t.id, "--as", clone); err != nil {
			return err
		}
		if err := x.want(clone, "kept"); err != nil {
			return err
		}
		clones = append(clones, clone)
	}
	time.Sleep(2 * time.Second) // idle, as the row says
	var shares []float64
	for _, clone := range clones {
		pid, err := x.pid(clone)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		match := pssLine.FindSubmatch(bytes.TrimSpace(data))
		if err != nil || match == nil {
			return fmt.Errorf("no Pss of %d: %v", pid, err)
		}
		kib, err := strconv.ParseFloat(string(match[1]), 64)
		if err != nil {
			return err
		}
		shares = append(shares, 100*kib/1024/mib)
	}
	x.add(result{Name: fmt.Sprintf("%s, %d MiB", x.r.what, mib), Unit: "%", A: shares})
	return nil
}

// rowExplore has n such rounds on each side; their goals differ by the peer.
func rowExplore(x *trial) error {
	const mib = 512
	n := max(2, x.b.pairs*50/15)
	var peer explorer
	var name string
	limit := 1.5
	if x.linux {
		x.r.goal = ratio(1)
		q, err := x.b.quicksand(x.ctx)
		if err != nil {
			return err
		}
		defer q.rest()
		peer, name, limit = &quickExplorer{q: q}, "quick-sandbox's", 1
	} else {
		x.r.goal = ratio(1.5)
		peer, name = &bareExplorer{x: x, mib: mib}, "bare: Diff, a new process and load"
	}
	own := &noidExplorer{x: x, mib: mib}
	for _, e := range []explorer{own, peer} {
		if err := e.begin(); err != nil {
			return err
		}
		if err := e.rest(); err != nil {
			return err
		}
	}
	side := func(e explorer) func(int) (float64, error) {
		return func(i int) (float64, error) { return awake(e, func() (float64, error) { return e.round(i) }) }
	}
	as, bs, err := x.several(n, side(own), side(peer))
	if err != nil {
		return err
	}
	x.add(result{Name: fmt.Sprintf("%s, beside %s, %d MiB", x.r.what, name, mib), Goal: ratio(limit), A: as, B: bs})
	return nil
}

// An explorer changes its guest, keeps that, goes back to what was kept the round before and insists on its token.
type explorer interface {
	sleeper
	begin() error                      // keeps the token "0"
	round(i int) (ms float64, _ error) // of token i+1
}

type noidExplorer struct {
	vm
	x          *trial
	mib        int
	kept, past string // ids
	keptTok    string
}

func (e *noidExplorer) begin() error {
	name, err := e.x.create(e.mib)
	if err != nil {
		return err
	}
	e.vm, e.keptTok = vm{e.x, name}, "0"
	if err := e.x.set(name, "0"); err != nil {
		return err
	}
	t, err := e.x.checkpoint(name)
	e.kept = t.id
	return err
}

func (e *noidExplorer) round(i int) (float64, error) {
	token := strconv.Itoa(i + 1)
	began := time.Now()
	if err := e.x.set(e.name, token); err != nil {
		return 0, err
	}
	t, err := e.x.checkpoint(e.name)
	if err != nil {
		return 0, err
	}
	if _, err := e.x.noid("restore", e.name, e.kept, "--no-backup"); err != nil {
		return 0, err
	}
	if err := e.x.want(e.name, e.keptTok); err != nil {
		return 0, err
	}
	took := since(began)
	if e.past != "" { // so that the disk does not fill
		err = e.x.forget(e.name, e.past)
	}
	e.past, e.kept, e.keptTok = e.kept, t.id, token
	return took, err
}

type bareExplorer struct {
	*bare
	x          *trial
	mib        int
	kept, base string // directories: the newest snapshot, and the one that the process goes on from
	keptTok    string
}

func (e *bareExplorer) begin() (err error) {
	if e.bare, err = e.x.boot(e.mib); err != nil {
		return err
	}
	if err := e.set("0"); err != nil {
		return err
	}
	if e.kept, err = e.snapDir(""); err != nil {
		return err
	}
	e.base, e.keptTok = e.kept, "0"
	_, err = e.save(e.kept)
	return err
}

func (e *bareExplorer) round(i int) (float64, error) {
	token := strconv.Itoa(i + 1)
	began := time.Now()
	if err := e.set(token); err != nil {
		return 0, err
	}
	snap, err := e.snapDir(e.base)
	if err != nil {
		return 0, err
	}
	if _, err := e.save(snap); err != nil {
		return 0, err
	}
	e.kill()
	old := e.bare
	if e.bare, err = e.x.fromSnap(e.mib, e.kept); err != nil {
		return 0, err
	}
	if err := errors.Join(e.load(e.kept), e.want(e.keptTok)); err != nil {
		return 0, err
	}
	took := since(began)
	old.remove()
	if e.base != e.kept {
		os.RemoveAll(e.base)
	}
	e.base, e.kept, e.keptTok = e.kept, snap, token
	return took, nil
}

type quickExplorer struct {
	q    *quicksand
	kept string // the token, and the tag's number
}

func (e *quickExplorer) rest() error { return e.q.rest() }
func (e *quickExplorer) wake() error { return e.q.wake() }

func (e *quickExplorer) begin() error {
	if err := e.q.wake(); err != nil {
		return err
	}
	e.kept = "0"
	_, _, err := e.q.steps([2]string{"exec", "echo 0 >/root/explored"}, [2]string{"checkpoint", "explore0"})
	return err
}

func (e *quickExplorer) round(i int) (float64, error) {
	token := strconv.Itoa(i + 1)
	out, took, err := e.q.steps([2]string{"exec", "echo " + token + " >/root/explored"}, [2]string{"checkpoint", "explore" + token},
		[2]string{"revert", "explore" + e.kept}, [2]string{"exec", "cat /root/explored"})
	err = same("quick-sandbox", strings.TrimSpace(out), e.kept, err)
	e.kept = token
	return took, err
}

// steps does several things and returns the last one's output and the milliseconds of all.
func (q *quicksand) steps(list ...[2]string) (out string, all float64, err error) {
	for _, s := range list {
		var ms float64
		if out, ms, err = q.ask(s[0], s[1]); err != nil {
			return out, all, err
		}
		all += ms
	}
	return out, all, nil
}

func rowQuicksand(x *trial) error {
	q, err := x.b.quicksand(x.ctx)
	if err != nil {
		return err
	}
	if err := q.rest(); err != nil {
		return err
	}
	name, err := x.create(512)
	if err != nil {
		return err
	}
	own := vm{x, name}
	if err := own.rest(); err != nil {
		return err
	}
	var id, token string
	for _, m := range []struct {
		what        string
		noid, quick func(i int) (float64, error)
	}{
		{"exec true", func(int) (float64, error) {
			_, took, err := x.timed("exec", name, "true")
			return took, err
		}, func(int) (float64, error) {
			_, took, err := q.ask("exec", "true")
			return took, err
		}},
		{"idle checkpoint", func(i int) (float64, error) {
			token = fmt.Sprintf("t%d", i)
			if err := x.set(name, token); err != nil {
				return 0, err
			}
			t, err := x.checkpoint(name)
			if err != nil {
				return 0, err
			}
			id = t.id
			return t.whole, x.check(name, id, token)
		}, func(i int) (float64, error) {
			if _, _, err := q.ask("exec", fmt.Sprintf("echo t%d >/root/token", i)); err != nil {
				return 0, err
			}
			_, took, err := q.ask("checkpoint", "idle")
			return took, err
		}},
		{"restore in place to first exec", func(int) (float64, error) {
			began := time.Now()
			if _, err := x.noid("restore", name, id, "--no-backup"); err != nil {
				return 0, err
			}
			err := x.want(name, token)
			return since(began), err
		}, func(int) (float64, error) {
			out, took, err := q.steps([2]string{"revert", "idle"}, [2]string{"exec", "cat /root/token"})
			return took, same("quick-sandbox", strings.TrimSpace(out), fmt.Sprintf("t%d", x.b.pairs-1), err)
		}},
	} {
		as, bs, err := x.pairs(func(i int) (float64, error) {
			return awake(own, func() (float64, error) { return m.noid(i) })
		}, func(i int) (float64, error) {
			return awake(q, func() (float64, error) { return m.quick(i) })
		})
		if err != nil {
			return fmt.Errorf("%s: %w", m.what, err)
		}
		x.add(result{Name: m.what + ", " + x.r.what, A: as, B: bs})
	}
	return nil
}
