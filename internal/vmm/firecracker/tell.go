package firecracker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"noid/internal/untrusted"
	"noid/internal/vmm"
)

// stateTimeout is what vmm.Driver allows State.
const stateTimeout = time.Second

// Tell implements vmm.Driver. Shutdown presses Ctrl+Alt+Del, which most guests answer with a reboot: Firecracker exits
// then, and Ended says EndedReboot. (arm64 has no such key.)
//
// Resume first has the vsock device reset its connections, as a snapshot does: see resetVsock. ResumeSaved need not.
func (d *Driver) Tell(ctx context.Context, dir string, c vmm.Command) error {
	var method, path string
	var body any
	switch c {
	case vmm.Pause:
		method, path, body = http.MethodPatch, "/vm", vmState{"Paused"}
	case vmm.Resume, vmm.ResumeSaved:
		method, path, body = http.MethodPatch, "/vm", vmState{"Resumed"}
	case vmm.Wake: // a guest that sleeps listens to nothing that Firecracker has
		return nil
	case vmm.Shutdown:
		method, path, body = http.MethodPut, "/actions", action{"SendCtrlAltDel"}
	default:
		return fmt.Errorf("telling firecracker: command %d is not known", c)
	}
	cl := newClient(dir)
	defer cl.close()
	if c == vmm.Resume || c == vmm.ResumeSaved {
		state, err := cl.state(ctx, callTimeout)
		if err != nil || state == vmm.Running { // resuming a running guest would hang its vsock too
			return err
		}
	}
	if c == vmm.Resume {
		if err := cl.resetVsock(ctx); err != nil {
			return err
		}
	}
	return cl.call(ctx, callTimeout, method, path, body, nil)
}

// LetRun implements vmm.Driver. Firecracker serves many clients, and answers none while it writes a snapshot.
func (d *Driver) LetRun(ctx context.Context, dir string) (ran bool, err error) {
	c := newClient(dir)
	defer c.close()
	state, err := c.state(ctx, callTimeout)
	if err != nil || state == vmm.Running {
		return err == nil, err
	}
	return false, d.Tell(ctx, dir, vmm.Resume)
}

// noDir is a directory that no VM has.
const noDir = "no-such-directory"

// resetVsock tells the paused guest that its vsock connections are gone. At every resume 1.16 shuts the way into the
// guest until the guest has acknowledged such a reset (Vsock::kick and pending_event_ack in devices/virtio/vsock), but
// only saving the device sends one: after a pause and resume with no snapshot between, all connections hang, open ones
// and new ones (firecracker issues 5958 and 6100).
//
// So a snapshot is asked for that fails: devices are saved, with the reset, before the state file is opened, which is
// in a directory that does not exist. Memory and the log of dirty pages are not touched.
func (c *client) resetVsock(ctx context.Context) error {
	if _, err := os.Lstat(filepath.Join(c.dir, noDir)); err == nil {
		return fmt.Errorf("resuming: %s is in the way", filepath.Join(c.dir, noDir))
	}
	path := filepath.Join(noDir, vmm.StateSnap)
	err := c.call(ctx, callTimeout, http.MethodPut, "/snapshot/create",
		snapshotCreate{SnapshotType: "Full", SnapshotPath: path, MemFilePath: path}, nil)
	if _, refused := errors.AsType[*apiError](err); refused {
		return nil
	} else if err != nil {
		return fmt.Errorf("resuming: %w", err)
	}
	return errors.New("resuming: firecracker wrote a snapshot to a directory that is not there")
}

// State implements vmm.Driver.
func (d *Driver) State(ctx context.Context, dir string) (vmm.State, error) {
	c := newClient(dir)
	defer c.close()
	return c.state(ctx, stateTimeout)
}

func (c *client) state(ctx context.Context, limit time.Duration) (vmm.State, error) {
	var info struct {
		State string `json:"state"`
	}
	if err := c.call(ctx, limit, http.MethodGet, "/", nil, &info); err != nil {
		return "", err
	}
	switch info.State {
	case "Running":
		return vmm.Running, nil
	case "Paused":
		return vmm.Paused, nil
	}
	return "", fmt.Errorf("firecracker's guest is in state %q", untrusted.End([]byte(info.State), 50))
}

// GrowDisk implements vmm.Driver: Firecracker opens the file anew and takes its length.
func (d *Driver) GrowDisk(ctx context.Context, dir string, _ int64) error {
	c := newClient(dir)
	defer c.close()
	return c.call(ctx, callTimeout, http.MethodPatch, "/drives/"+ownDrive, drivePath{ownDrive, vmm.RootfsFile}, nil)
}
