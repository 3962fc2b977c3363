package e2b

import (
	"context"
	"errors"
	"net/http"
	"time"

	"noid/internal/api"
	"noid/internal/errs"
	"noid/internal/vm"
)

func (h *Handler) setTimeout(ctx context.Context, m *vm.Manager, w http.ResponseWriter, r *http.Request) error {
	var in timed
	if err := read(w, r, &in); err != nil {
		return err
	}
	end, err := until(in.Timeout, defaultTimeout)
	if err != nil {
		return err
	}
	id, found := r.PathValue("id"), false
	err = h.changeNote(ctx, m, id, func(n *note) error {
		found = true
		if n.End.IsZero() {
			return errs.New(errs.ErrState, "the sandbox %q is paused: no time ends it", id).Hint("connect to it with a timeout")
		}
		n.End = end
		return nil
	})
	if err == nil && !found {
		err = errs.New(errs.ErrUsage, "vm %q was not made through E2B's interface: no time ends it", id).Hint("destroy it when it has done its work")
	}
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
	}
	return err
}

func (h *Handler) pause(ctx context.Context, m *vm.Manager, w http.ResponseWriter, r *http.Request) error {
	var in timed
	if err := read(w, r, &in); err != nil {
		return err
	}
	if err := h.suspend(ctx, m, r.PathValue("id"), in.Memory == nil || *in.Memory); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// settleWait bounds how long a sandbox's end is put right after a pause, also when who asked for it has gone.
const settleWait = 30 * time.Second

// suspend pauses a running sandbox, or without memory stops it. It has no end until it is connected to again.
func (h *Handler) suspend(ctx context.Context, m *vm.Manager, name string, memory bool) error {
	i, err := m.Info(ctx, name)
	if err != nil {
		return err
	}
	h.pausing.Store(name, nil)
	defer h.pausing.Delete(name)
	if err := h.editNote(ctx, m, name, func(n *note) error { // first: what is paused must not be killed
		if i.State == vm.Running {
			n.Pausing = n.End
		}
		n.End = time.Time{}
		return nil
	}); err != nil {
		return err
	}
	if i.State != vm.Running {
		return errs.New(errs.ErrState, "the sandbox %q is paused already: vm %s", name, i.State)
	}
	if memory {
		err = m.Pause(ctx, name)
	} else {
		err = m.Stop(ctx, name, false)
	}
	last, stop := context.WithTimeout(context.WithoutCancel(ctx), settleWait)
	defer stop()
	if unsettled := h.settle(last, m, name); err != nil {
		err = errors.Join(err, unsettled)
	} // else Expire settles it
	return err
}

// settle ends the Pausing of a sandbox: one that still runs has its end again, another has none.
func (h *Handler) settle(ctx context.Context, m *vm.Manager, name string) error {
	return h.editNote(ctx, m, name, func(n *note) error {
		i, err := m.Info(ctx, name)
		if err != nil {
			return err
		}
		if i.State != vm.Running {
			n.End = time.Time{}
		} else if !n.Pausing.IsZero() {
			n.End = n.Pausing
		}
		n.Pausing = time.Time{}
		return nil
	})
}

// connect lets a sandbox run, and gives it more time if it asks for more than it has.
func (h *Handler) connect(ctx context.Context, m *vm.Manager, w http.ResponseWriter, r *http.Request) error {
	var in timed
	if err := read(w, r, &in); err != nil {
		return err
	}
	if _, err := until(in.Timeout, defaultTimeout); err != nil {
		return err
	}
	id := r.PathValue("id")
	i, err := m.Info(ctx, id)
	if err != nil {
		return err
	}
	status := http.StatusCreated
	switch i.State {
	case vm.Running:
		status = http.StatusOK
	case vm.Paused:
		if in.Memory == nil || *in.Memory {
			err = m.Resume(ctx, id)
		} else if err = m.Stop(ctx, id, true); err == nil {
			err = m.Start(ctx, id)
		}
	case vm.Stopped, vm.Dead:
		err = m.Start(ctx, id)
	default:
		err = errs.New(errs.ErrState, "vm %q is %s", id, i.State)
	}
	if err != nil {
		return err
	}
	template := "vm"
	if err := h.changeNote(ctx, m, id, func(n *note) error {
		template = n.Template
		end, err := until(in.Timeout, defaultTimeout)
		if end.After(n.End) {
			n.End = end
		}
		n.Pausing = time.Time{} // it runs, and has an end
		return err
	}); err != nil {
		return err
	}
	answer(w, status, h.sandboxOf(id, template))
	return nil
}

// forked is one of the sandboxes that a fork was to make.
type forked struct {
	Sandbox *sandbox `json:"sandbox,omitempty"`
	Error   *problem `json:"error,omitempty"`
}

func (h *Handler) fork(ctx context.Context, m *vm.Manager, w http.ResponseWriter, r *http.Request) error {
	var in timed
	if err := read(w, r, &in); err != nil {
		return err
	}
	count := 1
	if in.Count != nil {
		count = *in.Count
	}
	if count < 1 || count > api.MaxCopies {
		return errs.New(errs.ErrUsage, "count: %d is not from 1 to %d", count, api.MaxCopies)
	}
	id := r.PathValue("id")
	i, err := m.Info(ctx, id)
	if err != nil {
		return err
	}
	if i.State != vm.Running {
		return errs.New(errs.ErrState, "the sandbox %q does not run: vm %s", id, i.State).Hint("connect to it first")
	}
	n := note{Template: "vm", OnEnd: onEndKill}
	if source := noteOf(i.Note); source != nil {
		n = *source
		n.Made, n.Pausing = "", time.Time{}
	}
	if n.End, err = until(in.Timeout, forkTimeout); err != nil {
		return err
	}
	n.End = n.End.Add(time.Duration(count) * api.BootWait) // for the first, which wait for the last
	doc, err := n.encode()
	if err != nil {
		return err
	}
	list := []forked{}
	_, err = m.Fork(ctx, id, "", vm.ForkOptions{N: count, Prefix: newName()[:len(namePrefix)+12] + "-", Note: doc}, func(name string, err error) {
		if err != nil {
			p := h.problemOf(err)
			list = append(list, forked{Error: &p})
			return
		}
		s := h.sandboxOf(name, n.Template)
		list = append(list, forked{Sandbox: &s})
	})
	if err != nil {
		return err
	}
	for i, f := range list { // the time begins when they run
		if f.Sandbox == nil {
			continue
		}
		if err := h.changeNote(ctx, m, f.Sandbox.ID, func(n *note) (err error) {
			n.End, err = until(in.Timeout, forkTimeout)
			return err
		}); err != nil {
			p := h.problemOf(err)
			list[i] = forked{Error: &p}
		}
	}
	answer(w, http.StatusCreated, list)
	return nil
}

// snapshotted is a checkpoint as E2B has it: a template of sandboxes.
type snapshotted struct {
	ID    string   `json:"snapshotID"`
	Names []string `json:"names"`
}

func (h *Handler) snapshot(ctx context.Context, m *vm.Manager, w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Name   string `json:"name"`
		Memory *bool  `json:"memory"`
	}
	if err := read(w, r, &in); err != nil {
		return err
	}
	if in.Memory != nil && !*in.Memory {
		return unserved("snapshots without memory")
	}
	id := r.PathValue("id")
	c, err := m.Checkpoint(ctx, id, in.Name)
	if err != nil {
		return err
	}
	out := snapshotted{id + "@" + c.ID, []string{}}
	if in.Name != "" {
		out.Names = append(out.Names, in.Name)
	}
	answer(w, http.StatusCreated, out)
	return nil
}
