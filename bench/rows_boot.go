package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"time"

	"noid/internal/link"
)

const bootMiB = 256

func rowWarm(x *trial) error {
	if !x.knows("create", "--cold") {
		return notRun("create has no --cold")
	}
	side := func(more ...string) func(int) (float64, error) {
		return func(int) (float64, error) { return x.created(more...) }
	}
	for range 2 { // the first one may make what the others begin with
		if _, err := x.created(); err != nil {
			return err
		}
	}
	as, bs, err := x.pairs(side(), side("--cold"))
	if err != nil {
		return err
	}
	x.add(result{A: as, B: bs})
	return nil
}

// created makes a VM and returns how long that took to its guest's first answer, in milliseconds.
func (x *trial) created(more ...string) (float64, error) {
	began := time.Now()
	name, err := x.create(bootMiB, more...)
	if err != nil {
		return 0, err
	}
	if x.linux {
		_, err = x.noid("exec", name, "true")
	} else {
		err = x.ask(name, "s hello", "token hello")
	}
	took := since(began)
	return took, errors.Join(err, x.destroy(name))
}

func rowCold(x *trial) error {
	var cold []string
	if x.knows("create", "--cold") {
		cold = []string{"--cold"}
	}
	if _, err := x.created(cold...); err != nil { // makes the kernel and the initramfs that the home keeps
		return err
	}
	as, bs, err := x.pairs(func(int) (float64, error) {
		return x.created(cold...)
	}, func(int) (float64, error) {
		v, err := x.place(bootMiB, x.b.guest.disk(x.linux))
		if err != nil {
			return 0, err
		}
		defer v.remove()
		began := time.Now()
		if err := v.boot(); err != nil {
			return 0, err
		}
		if x.linux {
			_, err = v.run("true")
		} else {
			err = v.set("hello")
		}
		return since(began), err
	})
	if err != nil {
		return err
	}
	x.add(result{Name: fmt.Sprintf("%s, %d MiB", x.r.what, bootMiB), A: as, B: bs})
	return nil
}

func rowExec(x *trial) error {
	name, err := x.create(bootMiB)
	if err != nil {
		return err
	}
	agent := x.agent(name)
	as, bs, err := x.pairs(func(int) (float64, error) {
		_, took, err := x.timed("exec", name, "true")
		return took, err
	}, func(int) (float64, error) {
		ctx, cancel := context.WithTimeout(x.ctx, time.Minute)
		defer cancel()
		began := time.Now()
		if err := agent.Ping(ctx); err != nil {
			return 0, err
		}
		err := exec.CommandContext(ctx, x.b.noop).Run()
		return since(began), err
	})
	if err != nil {
		return err
	}
	x.add(result{A: as, B: bs})
	return nil
}

// rowLine puts a command of noid's beside a line typed into a bare VM.
func rowLine(x *trial) error {
	name, err := x.create(bootMiB)
	if err != nil {
		return err
	}
	if err := x.rest(name); err != nil {
		return err
	}
	v, err := x.boot(bootMiB)
	if err != nil {
		return err
	}
	if err := v.rest(); err != nil {
		return err
	}
	as, bs, err := x.pairs(func(int) (float64, error) {
		return awake(vm{x, name}, func() (float64, error) {
			_, took, err := x.timed("exec", name, "true")
			return took, err
		})
	}, func(int) (float64, error) {
		return awake(v, func() (float64, error) { return x.line(v.dir, "true", "true") })
	})
	if err != nil {
		return err
	}
	x.add(result{A: as, B: bs})
	return nil
}

// agent reaches the agent of a VM of noid's: over vsock, or by the VM's helper.
func (x *trial) agent(name string) *link.Client {
	return &link.Client{Dial: func(ctx context.Context) (net.Conn, error) {
		if x.driver == "firecracker" {
			conn, _, err := firecracker{}.agent(ctx, &bare{dir: x.vmDir(name)})
			return conn, err
		}
		return dialUnix(ctx, filepath.Join(x.vmDir(name), "agent.sock"))
	}}
}
