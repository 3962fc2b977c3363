package qemu

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/helper"
	"noid/internal/vmm"
)

const (
	// connectTimeout bounds one Connect: a helper that must be started takes 20 ms, on a busy host more.
	connectTimeout = 10 * time.Second
	// holdTimeout bounds the wait for the helper to hold the port. It takes 1 ms, or 100 where a stuck guest leaves
	// bytes.
	holdTimeout = 10 * time.Second
)

// Connect implements vmm.Driver: it connects to the VM's helper, and has one started when there is none.
func (d *Driver) Connect(ctx context.Context, dir string) (net.Conn, error) {
	ctx, cancel := vmm.Bounded(ctx, connectTimeout, "the vm's helper")
	defer cancel()
	conn, err := d.connect(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("connecting to the agent: %w", err)
	}
	return conn, nil
}

func (d *Driver) connect(ctx context.Context, dir string) (net.Conn, error) {
	started := false
	for pause := time.Millisecond; ; pause = min(2*pause, 5*time.Millisecond) {
		conn, err := vmm.Dial(ctx, dir, AgentFile)
		switch {
		case err == nil:
			return conn, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case !vmm.Absent(err):
			return nil, err
		case !hasPort(dir):
			return nil, errs.New(errs.ErrState, "this vm has no port for it: it does not run, or was made before noid had an agent")
		case !started && !helper.Present(dir):
			if d.Helper == nil {
				return nil, err
			}
			if err := d.Helper(dir); err != nil {
				return nil, fmt.Errorf("starting the vm's helper: %w", err)
			}
			started = true
		}
		vmm.Sleep(ctx, pause) // the next try sees the end of ctx
	}
}

// hasPort reports whether the QEMU of dir was started with a port for the agent.
func hasPort(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, PortFile))
	return err == nil
}

// hold has the helper leave the port alone until release: see serveAgent. The VM is paused.
func hold(ctx context.Context, dir string) error {
	if !hasPort(dir) {
		return nil
	}
	ctx, cancel := vmm.Bounded(ctx, holdTimeout, "the vm's helper")
	defer cancel()
	f, err := os.OpenFile(filepath.Join(dir, HeldFile), os.O_WRONLY|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return fmt.Errorf("holding the agent's port: %w", err)
	}
	f.Close()
	for {
		conn, err := vmm.Dial(ctx, dir, HelperFile)
		if err == nil {
			defer conn.Close()
			stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
			defer stop()
			_, err = conn.Read(make([]byte, 1)) // the helper's word that it holds
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			if err == nil {
				return nil
			}
		}
		// Without a helper nobody touches the port, and one that starts now sees the file first.
		if ctx.Err() == nil && !helper.Present(dir) {
			return nil
		}
		if vmm.Sleep(ctx, 5*time.Millisecond) != nil {
			return fmt.Errorf("holding the agent's port: %w", context.Cause(ctx))
		}
	}
}

// release ends a hold. The helper looks.
func release(dir string) { os.Remove(filepath.Join(dir, HeldFile)) }
