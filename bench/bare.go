package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/link"
	"noid/internal/link/wire"
	"noid/internal/vmm/conformance/tinyguest"
)

// Files in a bare VM's directory. The console's have the names that tinyguest.Ask looks for.
const (
	diskFile   = "rootfs.ext4"
	memoryFile = "memory" // QEMU's alone
	inputFile  = "serial.in"
	logFile    = "serial.log"
	vmmLogFile = "vmm.log"
	savedMem   = "memory.snap" // in a snapshot's directory
	savedState = "vmstate.snap"
)

// A vmm is what the bare side asks of a VMM's API. A start is followed by the guest's running.
type vmmAPI interface {
	// start starts a process in v.dir that boots.
	start(v *bare) error
	// load starts a process in v.dir that goes on from the snapshot in directory snap.
	load(v *bare, snap string) error
	// save pauses, writes the guest's memory and state to directory snap and resumes. Where memory.snap is there
	// already, it is what the guest's memory was at the snapshot before: only what changed since need be written.
	save(v *bare, snap string) error
	// full is save of all memory, needed or not.
	full(v *bare, snap string) error
	// agent connects to the guest's agent. The connection is given up before a save.
	agent(ctx context.Context, v *bare) (net.Conn, func(), error)
}

// A bare is a VM without noid.
type bare struct {
	x      *trial
	api    vmmAPI
	dir    string
	memMiB int
	slirp  bool // it has QEMU's user network
	cmd    *exec.Cmd
	ended  chan struct{}
}

func (x *trial) vmm() vmmAPI {
	if x.driver == "firecracker" {
		return firecracker{}
	}
	return qemu{}
}

// place makes the directory of a bare VM with a disk of its own.
func (x *trial) place(memMiB int, disk string) (*bare, error) {
	x.made++
	v := &bare{x: x, api: x.vmm(), dir: filepath.Join(x.dir, fmt.Sprintf("bare%d", x.made)), memMiB: memMiB}
	if err := os.Mkdir(v.dir, 0o700); err != nil {
		return nil, err
	}
	if err := unix.Mkfifo(filepath.Join(v.dir, inputFile), 0o600); err != nil {
		return nil, err
	}
	return v, reflink(x.ctx, filepath.Join(v.dir, diskFile), disk)
}

// boot boots a bare VM and waits until its guest answers.
func (x *trial) boot(memMiB int) (*bare, error) {
	v, err := x.place(memMiB, x.b.guest.disk(x.linux))
	if err != nil {
		return nil, err
	}
	return v, v.boot()
}

func (v *bare) boot() error {
	if err := v.api.start(v); err != nil {
		return fmt.Errorf("starting %s: %w: %s", v.x.driver, err, v.log())
	}
	if v.x.linux {
		ctx, cancel := context.WithTimeout(v.x.ctx, 4*time.Minute)
		defer cancel()
		client, done := v.client()
		defer done()
		if err := client.Wait(ctx); err != nil {
			return fmt.Errorf("waiting for the bare vm's agent: %w", err)
		}
		return nil
	}
	return ready(v.x.ctx, v.dir)
}

// fromSnap makes a VM's directory from a snapshot and does not start it yet.
func (x *trial) fromSnap(memMiB int, snap string) (*bare, error) {
	return x.place(memMiB, filepath.Join(snap, diskFile))
}

func (v *bare) load(snap string) error {
	if err := v.api.load(v, snap); err != nil {
		return fmt.Errorf("loading into %s: %w: %s", v.x.driver, err, v.log())
	}
	return nil
}

// snapDir makes the directory of a snapshot; where base is not empty, its memory is there, cloned.
func (v *bare) snapDir(base string) (string, error) {
	v.x.made++
	snap := filepath.Join(v.x.dir, fmt.Sprintf("snap%d", v.x.made))
	if err := os.Mkdir(snap, 0o700); err != nil || base == "" {
		return snap, err
	}
	return snap, reflink(v.x.ctx, filepath.Join(snap, savedMem), filepath.Join(base, savedMem))
}

// save takes a snapshot to directory snap and returns how long the guest stood still, in milliseconds. The disk of a
// Linux guest is cloned meanwhile by the VMM's code; a tiny guest has written nothing to its own, which is cloned
// afterwards.
func (v *bare) save(snap string) (float64, error) { return v.saved(snap, v.api.save) }

func (v *bare) saveFull(snap string) (float64, error) { return v.saved(snap, v.api.full) }

func (v *bare) saved(snap string, how func(*bare, string) error) (float64, error) {
	began := time.Now()
	err := how(v, snap)
	took := since(began)
	if err == nil && !v.x.linux {
		err = reflink(v.x.ctx, filepath.Join(snap, diskFile), filepath.Join(v.dir, diskFile))
	}
	return took, err
}

// cloneDisk is called while the guest stands still.
func (v *bare) cloneDisk(snap string) error {
	if !v.x.linux {
		return nil
	}
	return reflink(v.x.ctx, filepath.Join(snap, diskFile), filepath.Join(v.dir, diskFile))
}

// client reaches the agent of a Linux guest. done closes what it opened.
func (v *bare) client() (c *link.Client, done func()) {
	var closers []func()
	return &link.Client{Dial: func(ctx context.Context) (net.Conn, error) {
			conn, closer, err := v.api.agent(ctx, v)
			if err == nil {
				closers = append(closers, closer)
			}
			return conn, err
		}}, func() {
			for _, c := range closers {
				c()
			}
		}
}

// run runs a command in a Linux guest and returns its output.
func (v *bare) run(argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(v.x.ctx, askLimit)
	defer cancel()
	var out strings.Builder
	err := v.runTo(ctx, &out, argv...)
	return out.String(), err
}

func (v *bare) runTo(ctx context.Context, out io.Writer, argv ...string) error {
	client, done := v.client()
	defer done()
	job := wire.Exec{}
	for _, a := range argv {
		job.Argv = append(job.Argv, []byte(a))
	}
	if _, err := client.Exec(ctx, job, link.Streams{Out: out}); err != nil {
		return fmt.Errorf("the bare vm's agent: %q: %w", argv, err)
	}
	return nil
}

func (v *bare) set(token string) error {
	if v.x.linux {
		_, err := v.run("sh", "-c", "echo "+token+" >/root/token")
		return err
	}
	return v.ask("s "+token, "token "+token)
}

func (v *bare) want(token string) error {
	if !v.x.linux {
		return v.ask("g", "token "+token)
	}
	out, err := v.run("cat", "/root/token")
	return same("the bare vm", strings.TrimSpace(out), token, err)
}

func (v *bare) dirty(mib int) error {
	return v.ask(fmt.Sprintf("d %d", mib), fmt.Sprintf("dirty %d", mib))
}

func (v *bare) ask(line, want string) error {
	got, err := tinyguest.Ask(v.dir, line, askLimit)
	return same("the bare vm", got, want, err)
}

// check loads a snapshot into a new VM, insists on its token, and kills that.
func (x *trial) checkBare(memMiB int, snap, token string) error {
	v, err := x.fromSnap(memMiB, snap)
	if err == nil {
		err = v.load(snap)
	}
	if err == nil {
		err = v.want(token)
	}
	if v != nil {
		v.remove()
	}
	return err
}

// spawn starts the VMM in the VM's directory: its console is the guest's.
func (v *bare) spawn(name string, args ...string) error {
	in, err := os.OpenFile(filepath.Join(v.dir, inputFile), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(filepath.Join(v.dir, logFile), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	log, err := os.Create(filepath.Join(v.dir, vmmLogFile))
	if err != nil {
		return err
	}
	defer log.Close()
	v.cmd = exec.Command(name, args...)
	v.cmd.Dir, v.cmd.Stdin, v.cmd.Stdout, v.cmd.Stderr = v.dir, in, out, log
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // Ctrl+C is for the bench
	if err := v.cmd.Start(); err != nil {
		return err
	}
	v.ended = make(chan struct{})
	go func() {
		v.cmd.Wait()
		close(v.ended)
	}()
	v.x.bare = append(v.x.bare, v)
	return nil
}

// dial connects to a socket in the VM's directory as soon as there is one.
func (v *bare) dial(name string) (net.Conn, error) {
	path := filepath.Join(v.dir, name)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		conn, err := dialUnix(v.x.ctx, path)
		if err == nil {
			return conn, nil
		}
		select {
		case <-v.ended:
			return nil, errors.New("it ended")
		case <-v.x.ctx.Done():
			return nil, v.x.ctx.Err()
		default:
		}
		if time.Now().After(deadline) {
			return nil, err
		}
	}
}

// dialUnix connects to path, which may be longer than a socket's address.
func dialUnix(ctx context.Context, path string) (net.Conn, error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return (&net.Dialer{}).DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)))
}

func (v *bare) kill() {
	if v.cmd != nil && v.cmd.Process != nil {
		v.cmd.Process.Kill()
		<-v.ended
	}
}

// remove kills the VM and removes its directory.
func (v *bare) remove() {
	v.kill()
	os.RemoveAll(v.dir)
}

func (v *bare) rest() error { return v.cmd.Process.Signal(syscall.SIGSTOP) }
func (v *bare) wake() error { return v.cmd.Process.Signal(syscall.SIGCONT) }

func (v *bare) log() string {
	data, _ := os.ReadFile(filepath.Join(v.dir, vmmLogFile))
	return strings.TrimSpace(string(data[max(0, len(data)-500):]))
}
