package firecracker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"noid/internal/errs"
	"noid/internal/proc"
	"noid/internal/untrusted"
	"noid/internal/vmm"
)

// startTimeout bounds a start or a load as a whole. Firecracker listens after 5–10 ms and reads a kernel in about 100;
// the rest is for a busy host and a slow disk.
const startTimeout = time.Minute

// Start implements vmm.Driver.
func (d *Driver) Start(ctx context.Context, dir string, m *vmm.Machine) (proc.Process, error) {
	ctx, cancel := bounded(ctx, startTimeout)
	defer cancel()
	if err := emptyBase(dir, int64(m.MemMiB)<<20); err != nil {
		return proc.Process{}, err
	}
	child, err := d.launch(ctx, dir, m, func(v version) []request { return bootRequests(m, v) })
	if err != nil {
		return proc.Process{}, explainBoot(err, m)
	}
	m.Hardware = nil // what a guest sees of the host's CPU is in the snapshot's own state
	return child.Process, nil
}

// explainBoot names the files that Firecracker's message leaves out.
func explainBoot(err error, m *vmm.Machine) error {
	refused, ok := errors.AsType[*apiError](err)
	if !ok {
		return err
	}
	text := strings.ToLower(refused.fault)
	switch {
	case strings.Contains(text, "kernel"), strings.Contains(text, "elf"):
		return errs.WithHint(fmt.Errorf("booting kernel %q: %w", m.KernelPath, err), "give an uncompressed ELF vmlinux")
	case strings.Contains(text, "initrd"):
		return fmt.Errorf("booting with initrd %q: %w", m.InitrdPath, err)
	case strings.Contains(text, "kvm object"), strings.Contains(text, vmm.KVMDevice):
		return vmm.NoKVM(err)
	}
	return err
}

// launch starts Firecracker in dir and makes the requests that a version of it is to get. It fills in m.DriverVersion.
// On error no process is left.
func (d *Driver) launch(ctx context.Context, dir string, m *vmm.Machine, requests func(version) []request) (*vmm.Child, error) {
	binary, err := d.binary.Find()
	if err != nil {
		return nil, err
	}
	// Firecracker refuses to start, or to load, where a socket of a run before is in the way.
	if err := vmm.Remove(dir, SocketFile, VsockFile); err != nil {
		return nil, err
	}
	if err := os.Mkdir(filepath.Join(dir, newSnapDir), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("making the directory for snapshots: %w", err)
	}
	if err := vmm.MarkSerialStart(dir); err != nil {
		return nil, fmt.Errorf("noting where the console's log begins: %w", err)
	}
	c := newClient(dir)
	defer c.close()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("starting firecracker: %w", context.Cause(ctx))
	}
	child, err := vmm.Spawn(dir, argv(binary), LogFile, m, vmm.Access{Devices: []string{vmm.KVMDevice}, Make: newSnapDir})
	if errors.Is(err, errs.ErrHost) { // not of the program
		return nil, fmt.Errorf("starting firecracker: %w", err)
	} else if err != nil {
		return nil, d.binary.Unusable(err)
	}
	var version string
	if err = child.Await(ctx, func() error { return c.probe(ctx) }); err != nil {
		err = fmt.Errorf("starting firecracker: %w", err)
	} else if version, err = talk(ctx, c, child, requests); err == nil {
		m.DriverVersion = version
		return child, nil
	}
	child.Abort()
	if errors.Is(err, vmm.ErrEnded) || errors.Is(err, errs.ErrTimeout) { // its log says more
		err = vmm.WithLog(err, dir, LogFile)
	}
	return nil, err
}

// argv names no VM (--id takes letters, digits and "-" only, and Firecracker aborts on others). Without --log-path the
// log would go to stdout, into the guest's console. Level Info is the least that tells a clean exit; it costs two lines
// a call.
func argv(binary string) []string {
	return []string{binary, "--api-sock", SocketFile, "--log-path", LogFile, "--level", "Info"}
}

// talk asks for the version and makes the requests, which ends at once when the process does.
func talk(ctx context.Context, c *client, child *vmm.Child, requests func(version) []request) (string, error) {
	var answer struct {
		Version string `json:"firecracker_version"`
	}
	err := c.call(ctx, callTimeout, http.MethodGet, "/version", nil, &answer)
	if err == nil {
		v, ok := parseVersion(answer.Version)
		if !ok {
			return "", fmt.Errorf("firecracker calls its version %q", untrusted.End([]byte(answer.Version), 100))
		}
		if err := v.check(); err != nil {
			return "", err
		}
		for _, r := range append(beforeAll(v), requests(v)...) {
			err = c.call(ctx, startTimeout, http.MethodPut, r.path, r.body, nil)
			if _, refused := errors.AsType[*apiError](err); refused && r.optional {
				err = nil
			}
			if err != nil {
				break
			}
		}
		if err == nil {
			return v.text, nil
		}
	}
	if _, refused := errors.AsType[*apiError](err); !refused {
		// The connection broke. If that is because the process ended, say so.
		if ended := child.Ended(ctx, 100*time.Millisecond); ended != nil {
			err = fmt.Errorf("%w (%w)", ended, err)
		}
	}
	return "", err
}
