package main

import (
	"errors"
	"fmt"
	"os"
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

// chain makes a VM, has it do before's work, and takes the first checkpoint.
func (x *trial) chain(memMiB int) (*chain, error) {
	name, err := x.create(memMiB)
	c := &chain{vm: vm{x, name}}
	if err != nil {
		return c, err
	}
	if _, err := c.next(nil); err != nil {
		return c, err
	}
	return c, c.rest()
}

func (c *chain) token() string {
	c.n++
	return fmt.Sprintf("%s-%d", c.name, c.n)
}

// next sets a token, does before's work, takes a checkpoint, and restores that as another VM for a look at its token.
func (c *chain) next(before func() error) (taken, error) {
	token := c.token()
	if err := c.x.set(c.name, token); err != nil {
		return taken{}, err
	}
	if before != nil {
		if err := before(); err != nil {
			return taken{}, err
		}
	}
	t, err := c.x.checkpoint(c.name)
	if err == nil {
		err = c.x.check(c.name, t.id, token)
	}
	if err == nil && c.last != "" {
		err = c.x.forget(c.name, c.last)
	}
	c.last = t.id
	return t, err
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

// next returns how long the guest stood still, in milliseconds.
func (c *bareChain) next(before func() error) (float64, error) {
	c.n++
	token := fmt.Sprintf("bare-%d", c.n)
	if err := c.set(token); err != nil {
		return 0, err
	}
	if before != nil {
		if err := before(); err != nil {
			return 0, err
		}
	}
	snap, err := c.snapDir(c.last)
	if err != nil {
		return 0, err
	}
	down, err := c.save(snap)
	if err == nil {
		err = c.x.checkBare(c.memMiB, snap, token)
	}
	if c.last != "" {
		os.RemoveAll(c.last)
	}
	c.last = snap
	return down, err
}
