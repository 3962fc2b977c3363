package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/network/space"
	"noid/internal/proc"
	"noid/internal/vmm"
)

// startTimeout bounds the wait for QEMU's first answer, which comes after 50–300 ms: it maps memory and builds its
// devices before it listens, and the host may be busy.
const startTimeout = 30 * time.Second

// Start implements vmm.Driver.
func (d *Driver) Start(ctx context.Context, dir string, m *vmm.Machine) (proc.Process, error) {
	ctx, cancel := bounded(ctx, startTimeout)
	defer cancel()
	hw, err := d.chooseHardware(ctx)
	if err != nil {
		return proc.Process{}, err
	}
	m.Hardware = hw
	memory, err := newMemory(dir, m.MemMiB)
	if err != nil {
		return proc.Process{}, err
	}
	reserved, err := fillMemory(ctx, memory, "", m.MemMiB, nil)
	if err != nil {
		return proc.Process{}, err
	}
	hw[hwLayout] = layoutFor(m, reserved)
	m.NetPair = false
	child, c, err := d.launch(ctx, dir, m, false)
	if space.Missing(err) {
		m.NetPair = true
		child, c, err = d.launch(ctx, dir, m, false)
	}
	if err != nil {
		return proc.Process{}, err
	}
	c.close()
	return child.Process, nil
}

func bounded(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return vmm.Bounded(ctx, limit, "the API socket")
}

// launch starts QEMU in dir, where memory stands ready, and returns when it answers. It fills in m.DriverVersion. On
// error no process is left.
func (d *Driver) launch(ctx context.Context, dir string, m *vmm.Machine, incoming bool) (*vmm.Child, *client, error) {
	binary, err := d.binary.Find()
	if err != nil {
		return nil, nil, err
	}
	// A leftover of a run before: the socket would be connected to, the state would be taken for this guest's.
	if err := vmm.Remove(dir, SocketFile, eventsInFile, eventsOutFile, lastStateFile, PortFile, AgentFile, HelperFile, HeldFile, waitsFile); err != nil {
		return nil, nil, err
	}
	if err := vmm.MarkSerialStart(dir); err != nil {
		return nil, nil, fmt.Errorf("preparing the console: %w", err)
	}
	events, err := makeEvents(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("making the events' files: %w", err)
	}
	defer events.Close()
	if err := ctx.Err(); err != nil {
		return nil, nil, fmt.Errorf("starting qemu: %w", err)
	}
	access := vmm.Access{Write: []string{memoryFile, eventsInFile, eventsOutFile}}
	if strings.HasPrefix(m.Hardware[hwAccel], "kvm") {
		access.Devices = []string{vmm.KVMDevice}
	}
	child, err := vmm.Spawn(dir, append([]string{binary}, argv(m, incoming)...), LogFile, m, access)
	if err != nil {
		return nil, nil, fmt.Errorf("starting qemu: %w", err)
	}
	var c *client
	if err := child.Await(ctx, func() (err error) { c, err = dial(ctx, dir); return err }); err != nil {
		child.Abort()
		return nil, nil, explain(fmt.Errorf("starting qemu: %w", err), dir, m)
	}
	m.DriverVersion = c.version
	return child, c, nil
}

// makeEvents makes the files of the second monitor, and puts into the FIFO the one command that it ever gets: without
// it no events are sent. The FIFO must be held open until QEMU has opened it, or the command is lost.
func makeEvents(dir string) (*os.File, error) {
	out, err := os.OpenFile(filepath.Join(dir, eventsOutFile), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	out.Close()
	path := filepath.Join(dir, eventsInFile)
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return nil, &os.PathError{Op: "mkfifo", Path: path, Err: err}
	}
	in, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if _, err := in.WriteString(`{"execute":"qmp_capabilities"}` + "\n"); err != nil {
		in.Close()
		return nil, err
	}
	return in, nil
}

// explain adds the end of QEMU's log to err, and the cure where there is one.
func explain(err error, dir string, m *vmm.Machine) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	err = vmm.WithLog(err, dir, LogFile)
	switch text := err.Error(); {
	case strings.Contains(text, "unsupported machine type"):
		machine, _, _ := strings.Cut(m.Hardware[hwMachine], ",")
		return errs.Host("build machine type "+machine, err).Hint(
			"use a QEMU that knows " + machine + " (saved with QEMU " + m.DriverVersion + ")")
	case strings.Contains(text, "PVH ELF Note"):
		return errs.WithHint(err, "give a bzImage, or a vmlinux built with CONFIG_PVH")
	case strings.Contains(text, "Could not access KVM"), strings.Contains(text, "failed to initialize kvm"):
		return vmm.NoKVM(err)
	}
	return err
}
