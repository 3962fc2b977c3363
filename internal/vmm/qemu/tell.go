package qemu

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"noid/internal/errs"
	"noid/internal/untrusted"
	"noid/internal/vmm"
)

// tellTimeout bounds a command where the caller's ctx does not: stop waits for the disk's requests in flight.
const tellTimeout = 30 * time.Second

// stateTimeout is what the interface promises.
const stateTimeout = time.Second

// Tell implements vmm.Driver.
func (d *Driver) Tell(ctx context.Context, dir string, cmd vmm.Command) error {
	name, ok := map[vmm.Command]string{vmm.Pause: "stop", vmm.Resume: "cont", vmm.ResumeSaved: "cont", vmm.Shutdown: "system_powerdown"}[cmd]
	if !ok && cmd != vmm.Wake {
		return fmt.Errorf("telling qemu: command %d is not known", cmd)
	}
	ctx, cancel := bounded(ctx, tellTimeout)
	defer cancel()
	c, err := dial(ctx, dir)
	if err != nil {
		return err
	}
	defer c.close()
	switch cmd {
	case vmm.Wake:
		return c.wake()
	case vmm.Resume:
		status, err := c.status()
		if err == nil && status != "running" {
			err = refuse(dir)
		}
		if err != nil {
			return err
		}
	}
	if err := c.do(name, nil, nil); err != nil {
		return err
	}
	if name == "cont" {
		release(dir)
	}
	if cmd != vmm.Shutdown { // whoever says so decides, no longer watchSpace
		os.Remove(filepath.Join(dir, waitsFile))
	}
	return nil
}

// State implements vmm.Driver.
func (d *Driver) State(ctx context.Context, dir string) (vmm.State, error) {
	ctx, cancel := bounded(ctx, stateTimeout)
	defer cancel()
	c, err := dial(ctx, dir)
	if err != nil {
		return "", err
	}
	defer c.close()
	status, err := c.status()
	if err != nil {
		return "", err
	}
	switch status {
	case "running":
		return vmm.Running, nil
	// postmigrate: a snapshot was taken since the pause. finish-migrate: one is being taken. suspended is the guest's
	// own sleep, which cont does not end; nothing runs either. io-error: a write to the disk found no space, and is
	// tried again by cont.
	case "io-error", "paused", "postmigrate", "prelaunch", "finish-migrate", "suspended", "inmigrate", "save-vm", "restore-vm":
		return vmm.Paused, nil
	}
	return "", errs.New(errs.ErrState, "qemu's status is %q", untrusted.End([]byte(status), 40))
}

// status asks for QEMU's run state (RunState in qapi/run-state.json).
func (c *client) status() (string, error) {
	var answer struct {
		Status string `json:"status"`
	}
	err := c.do("query-status", nil, &answer)
	return answer.Status, err
}

// GrowDisk implements vmm.Driver.
func (d *Driver) GrowDisk(ctx context.Context, dir string, length int64) error {
	ctx, cancel := bounded(ctx, tellTimeout)
	defer cancel()
	c, err := dial(ctx, dir)
	if err != nil {
		return err
	}
	defer c.close()
	return c.do("block_resize", map[string]any{"node-name": "d0", "size": length}, nil)
}
