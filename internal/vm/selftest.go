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
// next Sweep removes it when this process is killed. Nothing that the guests send leaves this machine. told, if not nil,
// is told what comes next. Errors are those of Create, Checkpoint, Fork and Restore; errs.ErrState is a guest without an
// agent, or without what a test needs.
func (m *Manager) SelfTest(ctx context.Context, o CreateOptions, wait time.Duration, told func(string)) (t SelfTest, err error) {
	b, err := m.newBench(ctx)
	if err != nil {
		return t, err
	}
	defer b.remove(ctx)
	b.wait = wait
	t.Image = o.Base != ""
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"booting a vm", func(ctx context.Context) error { return b.boot(ctx, o, &t) }},
		{"keeping a checkpoint", b.checkpoint},
		{"making clones", b.clone},
		{"restoring in place", b.restore},
		{"reading the checkpoint", b.verify},
	} {
		if told != nil {
			told(step.what)
		}
		if err := step.do(ctx); err != nil {
			return t, fmt.Errorf("selftest: %s: %w", step.what, err)
		}
	}
	t.DowntimeMs, t.Proofs = b.seen.downtimeMs, b.seen.proofs()
	return t, nil
}

// bench is a home in the staging area, and what was seen of its VMs.
type bench struct {
	*Manager // of that home
	dir      string
	lock     *home.Lock
	wait     time.Duration // for a guest to be up
	id       string        // of the checkpoint
	seen     evidence
}

// newBench makes the home. The caller removes it.
func (m *Manager) newBench(ctx context.Context) (*bench, error) {
	if err := m.Home.Make(); err != nil {
		return nil, err
	}
	if err := m.beginFilling(ctx, "selftest"); err != nil {
		return nil, err
	}
	inner := *m
	b := &bench{Manager: &inner}
	err := m.named(func(name string) (err error) {
		b.dir = m.Home.StagingDir(name)
		b.lock, err = m.lockNew(ctx, name, "selftest")
		return err
	})
	if err != nil {
		return nil, err
	}
	err = os.Mkdir(b.dir, 0o700)
	if err == nil { // what create unpacks of a kernel is there for good
		err = os.Symlink(m.Home.KernelsDir(), filepath.Join(b.dir, filepath.Base(m.Home.KernelsDir())))
	}
	if err == nil {
		b.Home, err = home.Open(b.dir)
	}
	if err != nil {
		b.remove(ctx)
		return nil, err
	}
	b.Config.Net, b.Config.Auto, b.Config.Warm = "", config.AutoOff, "off"
	if len(m.HelperCommand) > 0 { // the home that a helper serves
		b.HelperCommand = append([]string{"env", "NOID_HOME=" + b.dir}, m.HelperCommand...)
	}
	return b, nil
}

// remove removes the home with all its VMs. What it cannot do the next Sweep does.
func (b *bench) remove(ctx context.Context) {
	var problems []error
	if b.Home != nil {
		dirs, err := b.Home.VMDirs()
		problems = append(problems, err)
		for dir := range dirs {
			problems = append(problems, removeStaged(ctx, proc.Process{}, dir))
		}
		b.Home.Close()
	}
	err := errors.Join(problems...)
	if err == nil {
		err = storage.RemoveAll(b.dir)
	}
	if err != nil {
		b.warn(fmt.Sprintf("what the selftest has made is removed by the next command that changes something: %v", err))
	}
	b.lock.Unlock()
}

// boot makes the VM, and has it begin what its clones are to go on with.
func (b *bench) boot(ctx context.Context, o CreateOptions, t *SelfTest) error {
	o.Name, o.Wait, o.NoAgent, o.Cold = selfVM, 0, false, true
	b.seen.token, b.seen.value = rand.Text(), rand.Text()
	if b.seen.noNet = b.Drivers.CanNetwork(); b.seen.noNet == nil {
		its := secret.Secret{Name: secretName, Where: secret.InCommand, Command: "echo " + b.seen.value, Rules: grant.Rules{Hosts: []string{"selftest.invalid"}}}
		if _, err := b.secrets().Put(ctx, its, b.seen.value); err != nil {
			return err
		}
		o.Net = NetOptions{Network: string(network.Default), Deny: []string{"*"}, Ports: [][]network.Port{anyPort()}, Secrets: []string{secretName}}
	} else {
		o.Net = NetOptions{Network: string(network.None)}
	}
	s, err := b.create(ctx, o)
	if err != nil {
		return err
	}
	b.warnEmulated(s.driver.Name())
	if err := b.awaitAgent(ctx, s); err != nil {
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
	return b.begin(ctx)
}

// awaitAgent waits until the agent of s answers. A guest that turns out to have none is errs.ErrState.
func (b *bench) awaitAgent(ctx context.Context, s *session) error {
	agent, err := s.firstToAnswer(ctx, b.wait)
	switch {
	case err == nil && agent || ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		return errs.New(errs.ErrState, "the guest has no agent: a shell on its console alone answers").
			Hint("its kernel loads no initramfs: choose another with --kernel; 'noid setup' gets one")
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, link.ErrNoAnswer):
		return errs.New(errs.ErrTimeout, "no agent answers in the guest within %s", b.wait).
			Hint("the boot has not finished or failed: make a vm of the same with 'noid create', and see 'noid logs'; --wait-timeout waits longer")
	}
	return err
}

// checkpoint keeps the VM, which then goes on.
func (b *bench) checkpoint(ctx context.Context) (err error) {
	if b.seen.before, err = b.look(ctx, selfVM); err != nil {
		return err
	}
	began := time.Now()
	c, err := b.Checkpoint(ctx, selfVM, "")
	b.id, b.seen.downtimeMs, b.seen.took = c.ID, c.DowntimeMs, time.Since(began)
	return err
}

// clone makes two clones of the checkpoint, and one of the VM as it is. Each writes into its own file, and is looked at
// when all have.
func (b *bench) clone(ctx context.Context) error {
	if err := b.age(ctx); err != nil {
		return err
	}
	var names []string
	var problems []error
	made := func(name string, err error) { names, problems = append(names, name), append(problems, err) }
	for _, c := range []struct {
		ref string
		n   int
	}{{b.id, 2}, {"", 1}} {
		o := ForkOptions{N: c.n, Prefix: selfVM + "-"}
		if b.seen.noNet == nil {
			o.Ports = [][]network.Port{anyPort()}
		}
		_, err := b.Fork(ctx, selfVM, c.ref, o, made)
		if err = errors.Join(append(problems, err)...); err != nil {
			return err
		}
	}
	for _, name := range names {
		s, err := b.look(ctx, name)
		if err != nil {
			return err
		}
		b.seen.clones = append(b.seen.clones, s)
		if err := b.own(ctx, name); err != nil {
			return err
		}
	}
	for i, name := range names {
		if err := b.readOwn(ctx, name, &b.seen.clones[i]); err != nil {
			return err
		}
	}
	after, err := b.look(ctx, selfVM)
	b.seen.after = after
	return err
}

// restore breaks the VM, and puts it back.
func (b *bench) restore(ctx context.Context) error {
	if err := b.spoil(ctx); err != nil {
		return err
	}
	if err := b.age(ctx); err != nil {
		return err
	}
	if err := b.Restore(ctx, selfVM, b.id, RestoreOptions{NoBackup: true}); err != nil {
		return err
	}
	restored, err := b.look(ctx, selfVM)
	b.seen.restored = restored
	return err
}

// age waits until the checkpoint is staleAfter old.
func (b *bench) age(ctx context.Context) error {
	c, err := b.Home.LoadCheckpoint(selfVM, b.id)
	if err != nil {
		return err
	}
	return vmm.Sleep(ctx, time.Until(c.CreatedAt.Add(staleAfter)))
}

// verify reads the checkpoint, and looks in it for the secret.
func (b *bench) verify(ctx context.Context) error {
	verdicts, err := b.Verify(ctx, selfVM, b.id, true, nil)
	if err == nil {
		b.seen.checkpoint = verdicts[0].Problem
		err = b.ScanSecrets(ctx, verdicts, nil)
		b.seen.inCheckpoint = verdicts[0].Secrets
	}
	return err
}
