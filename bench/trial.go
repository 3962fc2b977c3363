package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"noid/internal/vmm/conformance/tinyguest"
)

// A setting is a driver and a guest.
type setting struct {
	where  string // tcg, direct or lab
	driver string // firecracker or qemu
	linux  bool   // else the tiny guest
}

// settingsOf are the sets that -set takes.
var settingsOf = map[string][]setting{
	"tcg":    {{"tcg", "qemu", true}},
	"direct": {{"direct", "firecracker", false}},
	"lab":    {{"lab", "firecracker", true}, {"lab", "qemu", true}},
}

func (s setting) name() string {
	if s.where == "lab" {
		return s.where + " " + s.driver
	}
	return s.where
}

// missing says what a setting lacks here, or nothing.
func (s setting) missing(b *bench) string {
	binary := qemuBinary
	if s.driver == "firecracker" {
		binary = firecrackerBinary()
	}
	if _, err := exec.LookPath(binary); err != nil {
		return "no " + s.driver
	}
	if s.where != "tcg" {
		f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
		if err != nil {
			return err.Error()
		}
		f.Close()
	}
	if s.linux && b.guest.rootfs == "" {
		return "no Linux guest: source scripts/guest-env.sh"
	}
	if s.where == "lab" && os.Getenv("NOID_LAB") == "" {
		return "not inside the KVM lab: scripts/bench.sh -set lab"
	}
	return ""
}

// A trial is one row in one setting, with a home of its own.
type trial struct {
	setting
	ctx  context.Context
	b    *bench
	r    row
	dir  string // for the bare side, on the file system to measure
	home string // noid's
	bare []*bare
	made int      // names given
	also []*trial // the same on other file systems
}

func (b *bench) open(ctx context.Context, s setting, r row) (*trial, error) {
	dir, err := os.MkdirTemp(b.dir, "row")
	x := &trial{setting: s, ctx: ctx, b: b, r: r, dir: dir, home: filepath.Join(dir, "home")}
	if err != nil {
		return x, err
	}
	return x, x.openHome(x.home)
}

// openHome makes a home of noid's whose guest is the setting's.
func (x *trial) openHome(home string) error {
	old := x.home
	defer func() { x.home = old }()
	x.home = home
	for key, value := range map[string]string{"kernel": x.kernel(), "rootfs": x.b.guest.disk(x.linux), "net": "none"} {
		if _, err := x.noid("config", "set", key, value); err != nil {
			return err
		}
	}
	return nil
}

func (x *trial) kernel() string {
	if x.linux {
		return x.b.guest.kernel
	}
	return x.b.guest.tiny
}

// close ends every VM of the trial and removes its files.
func (x *trial) close() {
	for _, y := range x.also {
		y.close()
	}
	x.ctx = context.Background() // also after Ctrl+C
	for _, v := range x.bare {
		v.kill()
	}
	homes, _ := filepath.Glob(filepath.Join(x.dir, "home*"))
	for _, home := range homes {
		x.home = home
		vms, _ := filepath.Glob(filepath.Join(home, "storage/vms/*/serial.in")) // records made for a listing have none
		for _, path := range vms {
			name := filepath.Base(filepath.Dir(path))
			x.wake(name)
			x.noid("destroy", "--checkpoints", name)
		}
		for _, pid := range x.working(home) {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	os.RemoveAll(x.dir)
}

// working returns the processes whose working directory is dir or below it: VMMs and helpers that noid no longer knows
// of.
func (x *trial) working(dir string) (pids []int) {
	cwds, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, cwd := range cwds {
		if to, err := os.Readlink(cwd); err == nil && strings.HasPrefix(to+"/", dir+"/") {
			var pid int
			if _, err := fmt.Sscanf(cwd, "/proc/%d/", &pid); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// noid runs noid and returns its stdout.
func (x *trial) noid(args ...string) (string, error) {
	out, _, err := x.timed(args...)
	return out, err
}

// timed runs noid and returns its stdout and how long that took, in milliseconds.
func (x *trial) timed(args ...string) (string, float64, error) {
	cmd := x.command(args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	err := cmd.Run()
	took := since(began)
	if err != nil {
		return "", took, fmt.Errorf("noid %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), took, nil
}

// command is noid with args in the trial's home.
func (x *trial) command(args ...string) *exec.Cmd {
	if args[0] == "exec" {
		args = append([]string{"exec", "--wait-timeout", "4m"}, args[1:]...)
	}
	cmd := exec.CommandContext(x.ctx, x.b.noid, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	cmd.Env = append(os.Environ(), "NOID_HOME="+x.home, "NOID_DRIVER="+x.driver)
	return cmd
}

// since is in milliseconds.
func since(began time.Time) float64 { return float64(time.Since(began).Microseconds()) / 1000 }

// knows reports whether noid's help for a verb mentions word.
func (x *trial) knows(verb, word string) bool {
	out, err := x.noid("help", verb)
	return err == nil && strings.Contains(out, word)
}

// name returns a name that no VM has yet.
func (x *trial) name() string {
	x.made++
	return fmt.Sprintf("v%d", x.made)
}

// create makes a VM and waits until its guest answers.
func (x *trial) create(memMiB int, more ...string) (string, error) {
	name := x.name()
	return name, x.createAs(name, memMiB, more...)
}

func (x *trial) createAs(name string, memMiB int, more ...string) error {
	args := []string{"create", name, "--mem", fmt.Sprint(memMiB)}
	if x.linux {
		args = append(args, "--wait")
	} else {
		args = append(args, "--no-agent")
	}
	if _, err := x.noid(append(args, more...)...); err != nil {
		return err
	}
	if x.linux {
		return nil
	}
	return ready(x.ctx, x.vmDir(name))
}

func (x *trial) vmDir(name string) string { return filepath.Join(x.home, "storage/vms", name) }

func (x *trial) destroy(names ...string) error {
	_, err := x.noid(append([]string{"destroy"}, names...)...)
	return err
}

// A taken checkpoint: its id, how long the guest stood still by noid's word, and how long the command took, in
// milliseconds.
type taken struct {
	id          string
	down, whole float64
}

func (x *trial) checkpoint(name string) (taken, error) {
	out, whole, err := x.timed("checkpoint", name, "--json")
	if err != nil {
		return taken{}, err
	}
	var c struct {
		ID   string  `json:"id"`
		Down float64 `json:"downtime_ms"`
	}
	if err := json.Unmarshal([]byte(out), &c); err != nil {
		return taken{}, fmt.Errorf("checkpoint --json: %w", err)
	}
	if c.ID == "" || c.Down <= 0 {
		return taken{}, fmt.Errorf("checkpoint --json says %s", out)
	}
	return taken{c.ID, c.Down, whole}, nil
}

func (x *trial) forget(name, id string) error {
	_, err := x.noid("forget", name, id)
	return err
}

// set has the guest of a VM keep token in its memory.
func (x *trial) set(name, token string) error {
	if x.linux {
		_, err := x.noid("exec", name, "--", "sh", "-c", "echo "+token+" >/root/token")
		return err
	}
	return x.ask(name, "s "+token, "token "+token)
}

// want insists that the guest of a VM answers, with the token that it was given.
func (x *trial) want(name, token string) error {
	if !x.linux {
		return x.ask(name, "g", "token "+token)
	}
	out, err := x.noid("exec", name, "cat", "/root/token")
	return same(name, strings.TrimSpace(out), token, err)
}

// askLimit is how long a tiny guest may take to an answer: it writes gigabytes for some.
const askLimit = 2 * time.Minute

func (x *trial) ask(name, line, want string) error {
	got, err := tinyguest.Ask(x.vmDir(name), line, askLimit)
	return same(name, got, want, err)
}

func same(who, got, want string, err error) error {
	if err == nil && got != want {
		err = fmt.Errorf("%s answers %q, not %q", who, got, want)
	}
	return err
}

// dirty has a tiny guest write to mib MiB.
func (x *trial) dirty(name string, mib int) error {
	return x.ask(name, fmt.Sprintf("d %d", mib), fmt.Sprintf("dirty %d", mib))
}

// check restores a checkpoint as a new VM, insists on its token, and destroys the new one.
func (x *trial) check(name, id, token string) error {
	clone := x.name()
	if _, err := x.noid("restore", name, id, "--as", clone); err != nil {
		return err
	}
	return errors.Join(x.want(clone, token), x.destroy(clone))
}

// pid asks noid for a VM's process.
func (x *trial) pid(name string) (int, error) {
	out, err := x.noid("inspect", name)
	if err != nil {
		return 0, err
	}
	var vm struct{ PID int }
	if err := json.Unmarshal([]byte(out), &vm); err != nil || vm.PID <= 0 {
		return 0, fmt.Errorf("inspect %s: no pid (%v)", name, err)
	}
	return vm.PID, nil
}

// resting makes a VM and a checkpoint of it, and has it stand still. With a token the checkpoint has that.
func (x *trial) resting(token string) (name string, t taken, err error) {
	if name, err = x.create(bootMiB); err == nil && token != "" {
		err = x.set(name, token)
	}
	if err == nil {
		t, err = x.checkpoint(name)
	}
	if err == nil {
		err = x.rest(name)
	}
	return name, t, err
}

// rest stops the processes of VMs while the other side is measured: a tiny guest on KVM takes a core, and a Linux guest
// a part of one. wake lets them go on.
func (x *trial) rest(names ...string) error { return x.signal(syscall.SIGSTOP, names) }
func (x *trial) wake(names ...string) error { return x.signal(syscall.SIGCONT, names) }

func (x *trial) signal(s syscall.Signal, names []string) error {
	for _, name := range names {
		pid, err := recordedPID(x.vmDir(name)) // a stopped VMM answers no inspect
		if err == nil {
			err = syscall.Kill(pid, s)
		}
		if err != nil {
			return fmt.Errorf("%v for %s: %w", s, name, err)
		}
	}
	return nil
}

func recordedPID(dir string) (int, error) {
	var vm struct{ Process struct{ PID int } }
	data, err := os.ReadFile(filepath.Join(dir, "vm.json"))
	if err == nil {
		err = json.Unmarshal(data, &vm)
	}
	if err == nil && vm.Process.PID <= 0 {
		err = errors.New("no pid on record")
	}
	return vm.Process.PID, err
}

// pairs takes the trial's samples of both sides in turns, with each beginning every other time.
func (x *trial) pairs(a, b func(i int) (float64, error)) (as, bs []float64, err error) {
	return x.several(x.b.pairs, a, b)
}

func (x *trial) several(n int, a, b func(i int) (float64, error)) (as, bs []float64, err error) {
	for i := range n {
		sides := []struct {
			f    func(int) (float64, error)
			into *[]float64
		}{{a, &as}, {b, &bs}}
		if i%2 == 1 {
			sides[0], sides[1] = sides[1], sides[0]
		}
		for _, s := range sides {
			if err := x.ctx.Err(); err != nil {
				return as, bs, err
			}
			v, err := s.f(i)
			if err != nil {
				return as, bs, err
			}
			*s.into = append(*s.into, v)
		}
	}
	return as, bs, nil
}

// add reports a result of the trial's row; an empty name and goal are the row's own.
func (x *trial) add(r result) {
	r.Row, r.Set = x.r.number, x.setting.name()
	if r.Name == "" {
		r.Name = x.r.what
	}
	if r.Goal == (goal{}) {
		r.Goal = x.r.goal
	}
	if r.Unit == "" {
		r.Unit = "ms"
	}
	x.b.add(r)
}
