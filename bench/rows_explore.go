package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// rowExplore has n such rounds on each side.
func rowExplore(x *trial) error {
	const mib = 512
	n := max(2, x.b.pairs*50/15)
	peer := &bareExplorer{x: x, mib: mib}
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
	x.add(result{Name: fmt.Sprintf("%s, %d MiB", x.r.what, mib), A: as, B: bs})
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
	base := e.base
	if e.x.driver == "qemu" {
		base = "" // it writes no difference
	}
	snap, err := e.snapDir(base)
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
