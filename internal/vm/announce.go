package vm

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"noid/internal/errs"
	"noid/internal/link/wire"
)

const (
	// freezeWait bounds the wait for an agent's word before a snapshot or a pause: it answers in some ms, or does not
	// live.
	freezeWait = time.Second
	// announceWait bounds the wait for an agent's first word after a restore. Its hooks have 30 s of their own.
	announceWait = 10 * time.Second
)

// freeze tells the agent that its connections are about to break, and reports whether it heard. A snapshot keeps that
// state, so that no clone takes the broken connections for clients that left. keepClock is link.Client.Freeze's.
func (s *session) freeze(ctx context.Context, keepClock bool) bool {
	if !s.vm.Machine.Agent {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, freezeWait)
	defer cancel()
	return s.agent().Freeze(ctx, keepClock) == nil
}

// syncWait bounds the wait for a guest that writes back before a checkpoint. The agent gives up sooner.
const syncWait = 6 * time.Second

// freezeFor is freeze before a snapshot. For one that is kept the guest first writes back to its disk, so that the disk
// alone shows what its programs have written: synced reports whether it has. The guest runs meanwhile.
func (s *session) freezeFor(ctx context.Context, keep bool) (frozen, synced bool) {
	if keep && s.vm.Machine.Agent {
		limit, cancel := context.WithTimeout(ctx, syncWait)
		synced, err := s.agent().SyncAndFreeze(limit, true)
		cancel()
		if err == nil {
			return true, synced
		}
	}
	return s.freeze(ctx, true), false
}

// thaw ends what freeze began, with the right time: the guest stood still. An agent that does not hear it thaws by
// itself. s.line is the connection on which it has heard it.
func (s *session) thaw(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*freezeWait)
	defer cancel()
	line, err := s.agent().Thaw(ctx)
	s.line.Close()
	s.line = line
	if err != nil && s.vm.Process.Alive() {
		s.warn(fmt.Sprintf("the guest's agent did not answer: the clock of %q may be late", s.vm.Name))
	}
}

// poweroff asks the agent to shut the guest down, and reports whether it will.
func (s *session) poweroff(ctx context.Context) bool {
	if !s.vm.Machine.Agent {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, freezeWait)
	defer cancel()
	return s.agent().Poweroff(ctx) == nil
}

// announce tells the guest what it does not know yet: that it is new, or was loaded from a checkpoint, with the clock,
// randomness and identity that follow from that. Before that, a guest that is to become a template becomes one. The
// agent answers already, and the lock is not held: announce takes it.
func (s *session) announce(ctx context.Context) error {
	locked, err := s.Home.Lock(ctx, s.vm.Name, s.verb)
	if err != nil {
		return err
	}
	defer locked.Unlock()
	if s.vm, err = s.Home.LoadVM(s.vm.Name); err != nil || s.vm.Unannounced == nil {
		return err
	}
	if key := s.vm.Unannounced.Template; key != "" {
		s.makeTemplate(ctx, key)
	}
	if err := s.tellGuest(ctx, s.dir); err != nil {
		return err
	}
	s.vm.Unannounced = nil
	return s.save()
}

// spoilTemplate keeps a guest from becoming a template: a user is about to talk to it over its console.
func (s *session) spoilTemplate(ctx context.Context) error {
	if s.vm.Unannounced == nil || s.vm.Unannounced.Template == "" {
		return nil
	}
	locked, err := s.Home.Lock(ctx, s.vm.Name, s.verb)
	if err != nil {
		return err
	}
	defer locked.Unlock()
	if s.vm, err = s.Home.LoadVM(s.vm.Name); err != nil || s.vm.Unannounced == nil || s.vm.Unannounced.Template == "" {
		return err
	}
	s.vm.Unannounced.Template = ""
	return s.save()
}

// tellGuest tells the guest, whose VM's directory is dir for now, what it does not know yet.
func (s *session) tellGuest(ctx context.Context, dir string) error {
	switch {
	case s.vm.Unannounced == nil:
		return nil
	case s.vm.Unannounced.Event == startEvent:
		s.thaw(ctx)
		return nil
	}
	r := wire.Restored{Event: s.vm.Unannounced.Event, Name: s.vm.Name, Source: cmp.Or(s.vm.RestoredFrom, s.vm.ForkedFrom), Seed: newSeed(),
		Identity: s.vm.Unannounced.Identity}
	hooks, err := s.agentIn(dir).Restored(ctx, announceWait, r)
	if err != nil {
		return fmt.Errorf("telling the guest who and when it is: %w", err)
	}
	if hooks != "" {
		s.warn("in the guest's /etc/noid/on-restore.d: " + hooks)
	}
	return nil
}

// newSeed is randomness for a guest.
func newSeed() []byte {
	seed := make([]byte, 64)
	rand.Read(seed) // it never fails
	return seed
}

// warnUntold turns a failed announcement into a warning: the VM runs, and the next exec tries again.
func (s *session) warnUntold(err error) {
	if err != nil && !errors.Is(err, errs.ErrState) {
		s.warn(fmt.Sprintf("%q has not heard yet who and when it is, the next exec tells it: %v", s.vm.Name, err))
	}
}
