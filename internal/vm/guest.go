package vm

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"noid/internal/errs"
	"noid/internal/home"
	"noid/internal/link/wire"
)

const (
	// freezeWait bounds the wait for an agent's word before a snapshot or a pause: it answers in some ms, or does not live.
	freezeWait = time.Second
	// announceWait bounds the wait for an agent's first word after a restore. Its hooks have 30 s of their own.
	announceWait = 10 * time.Second
)

// freeze tells the agent of v that its connections are about to break, and reports whether it heard. A snapshot keeps that
// state, so that no clone takes the broken connections for clients that left.
func (m *Manager) freeze(ctx context.Context, v home.VM) bool {
	if !v.Machine.Agent {
		return false
	}
	c, err := m.Agent(Info{VM: v})
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, freezeWait)
	defer cancel()
	return c.Freeze(ctx) == nil
}

// thaw ends what freeze began, with the right time where the guest stood still for long. An agent that does not hear it
// thaws by itself.
func (m *Manager) thaw(ctx context.Context, v home.VM, clock bool) {
	c, err := m.Agent(Info{VM: v})
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*freezeWait)
	defer cancel()
	if err := c.Thaw(ctx, clock); err != nil && clock {
		m.warn(fmt.Sprintf("the guest's agent did not answer: the clock of %q may be late", v.Name))
	}
}

// Announce tells the guest of name that it was loaded from a checkpoint, if it does not know yet: its clock, its randomness
// and, as a clone, its identity. The agent must be up.
func (m *Manager) Announce(ctx context.Context, name string) error {
	lock, err := m.Home.Lock(ctx, name, "restore")
	if err != nil {
		return err
	}
	defer lock.Unlock()
	v, err := m.Home.LoadVM(name)
	if err != nil {
		return err
	}
	return m.announce(ctx, &v)
}

// Touch keeps the guest of name from becoming a template: it is about to hear from a user.
func (m *Manager) Touch(ctx context.Context, name string) error {
	lock, err := m.Home.Lock(ctx, name, "touch")
	if err != nil {
		return err
	}
	defer lock.Unlock()
	v, err := m.Home.LoadVM(name)
	if err != nil || v.Unannounced == nil || v.Unannounced.Template == "" {
		return err
	}
	v.Unannounced.Template = ""
	return m.Home.SaveVM(m.Home.VMDir(name), v)
}

// announce is Announce under the VM's lock.
func (m *Manager) announce(ctx context.Context, v *home.VM) error {
	if v.Unannounced == nil {
		return nil
	}
	if key := v.Unannounced.Template; key != "" {
		m.template(ctx, *v, key)
	}
	if err := m.tell(ctx, *v, m.Home.VMDir(v.Name)); err != nil {
		return err
	}
	v.Unannounced = nil
	return m.Home.SaveVM(m.Home.VMDir(v.Name), *v)
}

// tell tells the guest of v, which runs in dir, what it does not know yet.
func (m *Manager) tell(ctx context.Context, v home.VM, dir string) error {
	if v.Unannounced == nil {
		return nil
	}
	c, err := m.agentIn(dir, Info{VM: v})
	if err != nil {
		return err
	}
	seed := make([]byte, 64)
	rand.Read(seed) // it never fails
	r := wire.Restored{Event: v.Unannounced.Event, Name: v.Name, Source: cmp.Or(v.RestoredFrom, v.ForkedFrom), Seed: seed, Identity: v.Unannounced.Identity}
	hooks, err := c.Restored(ctx, announceWait, r)
	if err != nil {
		return fmt.Errorf("telling the guest who and when it is: %w", err)
	}
	if hooks != "" {
		m.warn("in the guest's /etc/noid/on-restore.d: " + hooks)
	}
	return nil
}

// poweroff asks the agent to shut the guest down, and reports whether it will.
func (m *Manager) poweroff(ctx context.Context, v home.VM) bool {
	if !v.Machine.Agent {
		return false
	}
	c, err := m.Agent(Info{VM: v})
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, freezeWait)
	defer cancel()
	return c.Poweroff(ctx) == nil
}

// GuestInfo asks the agent of a running VM about its guest, for at most a second.
func (m *Manager) GuestInfo(ctx context.Context, info Info) (wire.Info, error) {
	c, err := m.Agent(info)
	if err != nil {
		return wire.Info{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, freezeWait)
	defer cancel()
	return c.Info(ctx)
}

// notTold turns a failed announcement into a warning: the VM runs, and the next exec tries again.
func (m *Manager) notTold(name string, err error) {
	if err != nil && !errors.Is(err, errs.ErrState) {
		m.warn(fmt.Sprintf("clock and identity of %q are still the checkpoint's, the next exec sets them: %v", name, err))
	}
}
