package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// A sleeper is a VM that can be stopped while another is measured.
type sleeper interface {
	rest() error
	wake() error
}

// vm is one of noid's, by name.
type vm struct {
	x    *trial
	name string
}

func (v vm) rest() error { return v.x.rest(v.name) }
func (v vm) wake() error { return v.x.wake(v.name) }

// awake measures s, which rests before and afterwards.
func awake(s sleeper, f func() (float64, error)) (float64, error) {
	if err := s.wake(); err != nil {
		return 0, err
	}
	v, err := f()
	return v, errors.Join(err, s.rest())
}

// A chain makes checkpoint upon checkpoint of one VM of noid's, checks each and keeps only the newest.
type chain struct {
	vm
	last string
	n    int
}

// chain makes a VM, with more flags of create, and takes the first checkpoint.
func (x *trial) chain(memMiB int, more ...string) (*chain, error) {
	name, err := x.create(memMiB, more...)
	c := &chain{vm: vm{x, name}}
	if err != nil {
		return c, err
	}
	if _, err := c.next(nil); err != nil {
		return c, err
	}
	return c, c.rest()
}

// next sets a token, does before's work, takes a checkpoint, and restores that as another VM for a look at its token.
func (c *chain) next(before func() error) (taken, error) {
	c.n++
	if err := c.x.set(c.name, fmt.Sprintf("%s-%d", c.name, c.n)); err != nil {
		return taken{}, err
	}
	if before != nil {
		if err := before(); err != nil {
			return taken{}, err
		}
	}
	return c.idle()
}

// idle takes a checkpoint as next does, of a VM that does nothing before it.
func (c *chain) idle() (taken, error) {
	t, err := c.take()
	return t, errors.Join(err, c.keep(t))
}

func (c *chain) take() (taken, error) { return c.x.checkpoint(c.name) }

// keep looks at what take took, and removes the one before.
func (c *chain) keep(t taken) error {
	if t.id == "" {
		return nil
	}
	err := c.x.check(c.name, t.id, fmt.Sprintf("%s-%d", c.name, c.n))
	if err == nil && c.last != "" {
		err = c.x.forget(c.name, c.last)
	}
	c.last = t.id
	return err
}

// A bareChain does the same without noid: each snapshot is a Diff onto a clone of the one before, made before the
// pause.
type bareChain struct {
	*bare
	last string
	n    int
}

func (x *trial) bareChain(memMiB int) (*bareChain, error) {
	v, err := x.boot(memMiB)
	c := &bareChain{bare: v}
	if err != nil {
		return c, err
	}
	if _, err := c.next(nil); err != nil {
		return c, err
	}
	return c, c.rest()
}

func (c *bareChain) next(before func() error) (taken, error) {
	c.n++
	if err := c.set(fmt.Sprintf("bare-%d", c.n)); err != nil {
		return taken{}, err
	}
	if before != nil {
		if err := before(); err != nil {
			return taken{}, err
		}
	}
	return c.idle()
}

// idle takes a snapshot as next does, of a VM that does nothing before it.
func (c *bareChain) idle() (taken, error) {
	t, err := c.take()
	return t, errors.Join(err, c.keep(t))
}

// take takes a snapshot, whose id is its directory. It is whole once all of it is on the disk.
func (c *bareChain) take() (t taken, err error) {
	began := time.Now()
	if t.id, err = c.snapDir(c.last); err != nil {
		return taken{}, err
	}
	if t.down, err = c.save(t.id); err == nil {
		err = syncSnap(t.id)
	}
	t.whole = since(began)
	return t, err
}

func (c *bareChain) keep(t taken) error {
	if t.id == "" {
		return nil
	}
	err := c.x.checkBare(c.memMiB, t.id, fmt.Sprintf("bare-%d", c.n))
	if c.last != "" {
		os.RemoveAll(c.last)
	}
	c.last = t.id
	return err
}

// syncSnap has a snapshot's directory survive a power cut, with its files and its name.
func syncSnap(snap string) error {
	for _, path := range []string{filepath.Join(snap, savedMem), filepath.Join(snap, savedState), filepath.Join(snap, diskFile), snap, filepath.Dir(snap)} {
		if err := fsync(path); err != nil {
			return err
		}
	}
	return nil
}
