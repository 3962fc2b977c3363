package firecracker

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"noid/internal/vmm"
)

// stateTimeout is what vmm.Driver allows State.
const stateTimeout = time.Second

// Tell implements vmm.Driver. Shutdown presses Ctrl+Alt+Del, which most guests answer with a reboot: Firecracker exits
// then, and Ended says EndedReboot. (arm64 has no such key.)
//
// Note for users of the vsock: in 1.16.0 and 1.16.1 a pause and resume with no snapshot between hangs every connection,
// open or new, until the next snapshot (firecracker issues 5958 and 6100). Give every CONNECT a deadline.
func (d *Driver) Tell(ctx context.Context, dir string, c vmm.Command) error {
	var method, path string
	var body any
	switch c {
	case vmm.Pause:
		method, path, body = http.MethodPatch, "/vm", vmState{"Paused"}
	case vmm.Resume:
		method, path, body = http.MethodPatch, "/vm", vmState{"Resumed"}
	case vmm.Shutdown:
		method, path, body = http.MethodPut, "/actions", action{"SendCtrlAltDel"}
	default:
		return fmt.Errorf("telling firecracker: command %d is not known", c)
	}
	cl, err := newClient(dir)
	if err != nil {
		return err
	}
	defer cl.close()
	return cl.call(ctx, callTimeout, method, path, body, nil)
}

// State implements vmm.Driver.
func (d *Driver) State(ctx context.Context, dir string) (vmm.State, error) {
	c, err := newClient(dir)
	if err != nil {
		return "", err
	}
	defer c.close()
	var info struct {
		State string `json:"state"`
	}
	if err := c.call(ctx, stateTimeout, http.MethodGet, "/", nil, &info); err != nil {
		return "", err
	}
	switch info.State {
	case "Running":
		return vmm.Running, nil
	case "Paused":
		return vmm.Paused, nil
	}
	return "", fmt.Errorf("firecracker's guest is in state %q", vmm.Printable([]byte(info.State), 50))
}
