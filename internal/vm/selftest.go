package vm

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"noid/internal/config"
	"noid/internal/errs"
	"noid/internal/home"
	"noid/internal/link"
	"noid/internal/network"
	"noid/internal/network/grant"
	"noid/internal/proc"
	"noid/internal/secret"
	"noid/internal/storage"
	"noid/internal/vmm"
)

// SelfTest is what Manager.SelfTest has found out.
type SelfTest struct {
	Driver, DriverVersion string
	Image                 bool   // the guest is of an image
	GuestKernel           string // uname -r: the guest's text
	DowntimeMs            float64
	Proofs                []Proof
}

// selfVM is the VM that is tested. Its clones are called selfVM-1 and so on.
const selfVM = "selftest"

// staleAfter is how old a checkpoint is at least before it is restored: a clock that nobody sets is as late then.
const staleAfter = 3 * time.Second

// SelfTest makes a VM of o, of which the name does not count, a checkpoint of it and clones, and returns what it could
// prove of them. They are in a home of their own in the staging area, which is gone afterwards: nobody sees it, and the
// next Sweep removes it when this process is killed. Nothing that the guests send leaves this machine. wait is how long
// the guest may take to be up. told, if not nil, hears what comes next. Errors are those of Create, Checkpoint, Fork and
// Restore; errs.ErrState is a guest without an agent, or without what a test needs.
func (m *Manager) SelfTest(ctx context.Context, o CreateOptions, wait time.Duration, told func(string)) (t SelfTest, err error) {
	h, err := m.newTestHome(ctx)
	if err != nil {
		return t, err
	}
	defer h.remove(ctx)
	h.wait = wait
	t.Image = o.Base != ""
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"booting a vm", func(ctx context.Context) error { return h.boot(ctx, o, &t) }},
		{"keeping a checkpoint", h.checkpoint},
		{"making clones", h.clone},
		{"restoring in place", h.restore},
		{"reading the checkpoint", h.verify},
	} {
		if told != nil {
			told(step.what)
		}
		if err := step.do(ctx); err != nil {
			return t, fmt.Errorf("selftest: %s: %w", step.what, err)
		}
	}
	t.DowntimeMs, t.Proofs = h.seen.downtimeMs, h.seen.proofs()
	return t, nil
}

// testHome is a home in the staging area, and what was seen of its VMs.
type testHome struct {
	*Manager // of that home
	dir      string
	lock     *home.Lock
	wait     time.Duration // for a guest to be up
	id       string        // of the checkpoint
	seen     evidence
}

// newTestHome makes the home. The caller removes it.
func (m *Manager) newTestHome(ctx context.Context) (*testHome, error) {
	if err := m.Home.Make(); err != nil {
		return nil, err
	}
	if err := m.beginFilling(ctx, "selftest"); err != nil {
		return nil, err
	}
	inner := *m
	h := &testHome{Manager: &inner}
	err := m.named(func(name string) (err error) {
		h.dir = m.Home.StagingDir(name)
		h.lock, err = m.lockNew(ctx, name, "selftest")
		return err
	})
	if err != nil {
		return nil, err
	}
	err = os.Mkdir(h.dir, 0o700)
	if err == nil { // what create unpacks of a kernel is there for good
		err = os.Symlink(m.Home.KernelsDir(), filepath.Join(h.dir, filepath.Base(m.Home.KernelsDir())))
	}
	if err == nil {
		h.Home, err = home.Open(h.dir)
	}
	if err != nil {
		h.remove(ctx)
		return nil, err
	}
	h.Config.Net, h.Config.Auto, h.Config.Warm = "", config.AutoOff, "off"
	if len(m.HelperCommand) > 0 { // the home that a helper serves
		h.HelperCommand = append([]string{"env", "NOID_HOME=" + h.dir}, m.HelperCommand...)
	}
	return h, nil
}

// remove removes the home with all its VMs. What it cannot do the next Sweep does.
func (h *testHome) remove(ctx context.Context) {
	var problems []error
	if h.Home != nil {
		dirs, err := h.Home.VMDirs()
		problems = append(problems, err)
		for dir := range dirs {
			problems = append(problems, removeStaged(ctx, proc.Process{}, dir))
		}
		h.Home.Close()
	}
	err := errors.Join(problems...)
	if err == nil {
		err = storage.RemoveAll(h.dir)
	}
	if err != nil {
		h.warn(fmt.Sprintf("what the selftest has made is removed by the next command that changes something: %v", err))
	}
	h.lock.Unlock()
}

// boot makes the VM, and has it begin what its clones are to go on with.
func (h *testHome) boot(ctx context.Context, o CreateOptions, t *SelfTest) error {
	o.Name, o.Wait, o.NoAgent, o.Cold = selfVM, 0, false, true
	h.seen.token, h.seen.value = rand.Text(), rand.Text()
	its := secret.Secret{Name: secretName, Where: secret.InCommand, Command: "echo " + h.seen.value, Rules: grant.Rules{Hosts: []string{"selftest.invalid"}}}
	if _, err := h.secrets().Put(ctx, its, h.seen.value); err != nil {
		return err
	}
	o.Net = NetOptions{Network: string(network.Default), Deny: []string{"*"}, Ports: [][]network.Port{anyPort()}, Secrets: []string{secretName}}
	s, err := h.create(ctx, o)
	if errors.Is(err, errs.ErrHost) {
		if h.seen.noNet = h.Drivers.CanNetwork(); h.seen.noNet != nil {
			o.Net = NetOptions{Network: string(network.None)}
			s, err = h.create(ctx, o)
		}
	}
	if err != nil {
		return err
	}
	h.warnEmulated(s.driver.Name())
	if err := h.awaitAgent(ctx, s); err != nil {
		return s.explain(err)
	}
	if err := s.announce(ctx); err != nil {
		return err
	}
	info, err := s.agent().Info(ctx)
	if err != nil {
		return err
	}
	t.Driver, t.DriverVersion, t.GuestKernel = s.driver.Name(), s.vm.Machine.DriverVersion, info.Kernel
	return h.begin(ctx)
}

// awaitAgent waits until the agent of s answers. A guest that turns out to have none is errs.ErrState.
func (h *testHome) awaitAgent(ctx context.Context, s *session) error {
	agent, err := s.firstToAnswer(ctx, h.wait)
	switch {
	case err == nil && agent || ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		return errs.New(errs.ErrState, "the guest has no agent: a shell on its console alone answers").
			Hint("its kernel loads no initramfs: choose another with --kernel; 'noid setup' gets one")
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, link.ErrNoAnswer):
		return errs.New(errs.ErrTimeout, "no agent answers in the guest within %s", h.wait).
			Hint("the boot has not finished or failed: make a vm of the same with 'noid create', and see 'noid logs'; --wait-timeout waits longer")
	}
	return err
}

// checkpoint keeps the VM, which then goes on.
func (h *testHome) checkpoint(ctx context.Context) (err error) {
	if h.seen.before, err = h.look(ctx, selfVM); err != nil {
		return err
	}
	began := time.Now()
	c, err := h.Checkpoint(ctx, selfVM, "")
	h.id, h.seen.downtimeMs, h.seen.took = c.ID, c.DowntimeMs, time.Since(began)
	return err
}

// clone makes two clones of the checkpoint, and one of the VM as it is. Each writes into its own file, and is looked at
// when all have.
func (h *testHome) clone(ctx context.Context) error {
	if err := h.age(ctx); err != nil {
		return err
	}
	var names []string
	var problems []error
	made := func(name string, err error) { names, problems = append(names, name), append(problems, err) }
	for _, c := range []struct {
		ref string
		n   int
	}{{h.id, 2}, {"", 1}} {
		o := ForkOptions{N: c.n, Prefix: selfVM + "-"}
		if h.seen.noNet == nil {
			o.Ports = [][]network.Port{anyPort()}
		}
		_, err := h.Fork(ctx, selfVM, c.ref, o, made)
		if err = errors.Join(append(problems, err)...); err != nil {
			return err
		}
	}
	for _, name := range names {
		s, err := h.look(ctx, name)
		if err != nil {
			return err
		}
		h.seen.clones = append(h.seen.clones, s)
		if err := h.own(ctx, name); err != nil {
			return err
		}
	}
	for i, name := range names {
		if err := h.readOwn(ctx, name, &h.seen.clones[i]); err != nil {
			return err
		}
	}
	after, err := h.look(ctx, selfVM)
	h.seen.after = after
	return err
}

// restore breaks the VM, and puts it back.
func (h *testHome) restore(ctx context.Context) error {
	if err := h.spoil(ctx); err != nil {
		return err
	}
	if err := h.age(ctx); err != nil {
		return err
	}
	if err := h.Restore(ctx, selfVM, h.id, RestoreOptions{NoBackup: true}); err != nil {
		return err
	}
	restored, err := h.look(ctx, selfVM)
	h.seen.restored = restored
	return err
}

// age waits until the checkpoint is staleAfter old.
func (h *testHome) age(ctx context.Context) error {
	c, err := h.Home.LoadCheckpoint(selfVM, h.id)
	if err != nil {
		return err
	}
	return vmm.Sleep(ctx, time.Until(c.CreatedAt.Add(staleAfter)))
}

// verify reads the checkpoint, and looks in it for the secret.
func (h *testHome) verify(ctx context.Context) error {
	verdicts, err := h.Verify(ctx, selfVM, h.id, true, nil)
	if err == nil {
		h.seen.checkpoint = verdicts[0].Problem
		err = h.ScanSecrets(ctx, verdicts, nil)
		h.seen.inCheckpoint = verdicts[0].Secrets
	}
	return err
}
