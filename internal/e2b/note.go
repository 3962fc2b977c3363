package e2b

import (
	"context"
	"encoding/json"
	"time"

	"noid/internal/errs"
	"noid/internal/vm"
)

// note is what is kept with a VM that is a sandbox.
type note struct {
	E2B      bool              `json:"e2b"` // it is this package's
	Template string            `json:"template"`
	Metadata map[string]string `json:"metadata,omitempty"`
	Env      map[string]string `json:"env,omitempty"` // of all commands
	// End is when its time is over, and OnEnd what happens then: kill, pause or stop. The zero End never comes: of a
	// sandbox that is paused.
	End   time.Time `json:"end,omitzero"`
	OnEnd string    `json:"on_end"`
	// Pausing is the End that the sandbox had before it was to be paused: should that fail, it has it again. A server
	// that was killed meanwhile leaves that to the next.
	Pausing time.Time `json:"pausing,omitzero"`
	// Made is random, of the request that has made the sandbox; "" of a fork.
	Made string `json:"made,omitempty"`
}

const (
	onEndKill  = "kill"
	onEndPause = "pause"
	onEndStop  = "stop" // E2B's pause without memory
)

// maxNote bounds a note, in bytes: metadata and environment.
const maxNote = 64 << 10

func (n note) encode() (vm.Note, error) {
	n.E2B = true
	b, err := json.Marshal(n)
	if len(b) > maxNote {
		return nil, errs.New(errs.ErrUsage, "metadata and envs have more than %d bytes", maxNote).Hint("write what is long to a file of the sandbox")
	}
	return b, err
}

// noteOf is the note of a VM, nil of one that E2B's client has not made.
func noteOf(doc vm.Note) *note {
	var n note
	if json.Unmarshal(doc, &n) != nil || !n.E2B {
		return nil
	}
	return &n
}

// changeNote is editNote of the end, which Expire looks at.
func (h *Handler) changeNote(ctx context.Context, m *vm.Manager, name string, change func(*note) error) error {
	err := h.editNote(ctx, m, name, change)
	select {
	case h.wake <- struct{}{}:
	default:
	}
	return err
}

// editNote changes the note of the VM name, if it is a sandbox.
func (h *Handler) editNote(ctx context.Context, m *vm.Manager, name string, change func(*note) error) error {
	return m.ChangeNote(ctx, name, func(old vm.Note) (vm.Note, error) {
		n := noteOf(old)
		if n == nil {
			return nil, nil
		}
		if err := change(n); err != nil {
			return nil, err
		}
		return n.encode()
	})
}

// expireRetry is how long after a sandbox could not be ended that is tried again.
const expireRetry = 30 * time.Second

// lookAgain is how long what another server has changed may go unseen.
const lookAgain = 15 * time.Second

// Expire ends sandboxes whose time is over, until ctx ends. What ended while nobody called it, it ends at once.
func (h *Handler) Expire(ctx context.Context) {
	due := time.NewTimer(0)
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.wake:
		case <-due.C:
		}
		due.Stop()
		wait := lookAgain
		if next := h.expire(ctx, time.Now()); !next.IsZero() {
			wait = min(wait, time.Until(next))
		}
		due.Reset(wait)
	}
}

// expire ends what is due at now, and returns when the next is; the zero time for none.
func (h *Handler) expire(ctx context.Context, now time.Time) (next time.Time) {
	m, err := h.open(ctx, "serve")
	if err != nil {
		h.log("sandboxes do not end: " + err.Error())
		return now.Add(expireRetry)
	}
	defer m.Close()
	later := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	err = m.Notes(func(name string, doc vm.Note) bool {
		n := noteOf(doc)
		if n != nil && !n.Pausing.IsZero() {
			if _, ours := h.pausing.Load(name); !ours {
				n = h.unsettled(ctx, m, name)
			}
		}
		switch {
		case n == nil || n.End.IsZero():
		case n.End.After(now):
			later(n.End)
		default:
			if err := h.end(ctx, m, name); err != nil && ctx.Err() == nil {
				h.log("the time of the sandbox " + name + " is over: " + err.Error())
				later(now.Add(expireRetry))
			}
		}
		return ctx.Err() == nil
	})
	if err != nil {
		h.log("sandboxes do not end: " + err.Error())
		later(now.Add(expireRetry))
	}
	return next
}

// unsettled settles a sandbox that a server was killed pausing, and returns its note.
func (h *Handler) unsettled(ctx context.Context, m *vm.Manager, name string) *note {
	err := h.settle(ctx, m, name)
	if err == nil {
		var i vm.Info
		if i, err = m.Info(ctx, name); err == nil {
			return noteOf(i.Note)
		}
	}
	if ctx.Err() == nil {
		h.log("the sandbox " + name + ", which was to be paused: " + err.Error())
	}
	return nil
}

// end ends a sandbox whose time is over. It looks again at the end that it has, under the lock of its VM: a client may
// have given it more time since. Between that and what ends it is a moment that remains.
func (h *Handler) end(ctx context.Context, m *vm.Manager, name string) error {
	due, how := false, ""
	err := m.ChangeNote(ctx, name, func(doc vm.Note) (vm.Note, error) {
		if n := noteOf(doc); n != nil {
			due, how = !n.End.IsZero() && !n.End.After(time.Now()), n.OnEnd
		}
		return nil, nil
	})
	switch {
	case err != nil || !due:
		return err
	case how != onEndKill:
		return h.suspend(ctx, m, name, how == onEndPause)
	}
	_, err = m.Destroy(ctx, name, false)
	return err
}
