package vm

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"noid/internal/errs"
	"noid/internal/home"
	"noid/internal/image"
	"noid/internal/image/store"
	"noid/internal/link"
	"noid/internal/link/wire"
	"noid/internal/untrusted"
)

// CommitOptions say what Commit makes.
type CommitOptions struct {
	Checkpoint string // of the VM; "" is what it is now
	Image      string // the new image's name
	Message    string
	Changes    []string      // lines of a Dockerfile: see image.Config.Change
	Wait       time.Duration // how long to wait for a guest to be up
	Count      func(n int)   // is told of every n bytes of the layer. Nil for nobody
}

// Commit makes an image of the VM name, running or not: of its image's layers, and of what the VM has changed as one
// more. A VM that is of no image, or whose disk has the image in it, becomes one layer. A throw-away clone that nobody
// can see into is asked for it, so the image is of one moment, for which a running VM stands still as for a checkpoint.
// What the guest has mounted, such as a tmpfs, is not in it, nor is its hostname and machine-id.
func (m *Manager) Commit(ctx context.Context, name string, o CommitOptions) (img image.Image, err error) {
	if err := m.CheckKnown(name); err != nil {
		return img, err
	}
	err = m.ChangeImages(ctx, "commit", func(s *store.Store) error {
		v, err := m.committed(ctx, name, o.Checkpoint)
		if err != nil {
			return err
		}
		l := store.Layer{Message: o.Message}
		if v.Image != nil {
			l.Config = v.Image.Config
			if v.Machine.Base {
				l.Base = v.Image
			}
		}
		if err := l.Config.Change(o.Changes); err != nil {
			return err
		}
		l.Write = func(ctx context.Context, w io.Writer) error { return m.writeChanges(ctx, name, o, counted{w, o.Count}) }
		img, err = s.Commit(ctx, o.Image, l)
		return err
	})
	return img, err
}

// committed is what is known of the VM, or of its checkpoint ref.
func (m *Manager) committed(ctx context.Context, name, ref string) (home.VM, error) {
	v := home.VM{}
	if ref == "" {
		s, err := m.look(name, "commit")
		if err != nil {
			return v, err
		}
		v = s.vm
	} else {
		c, err := m.Home.FindCheckpoint(ctx, name, ref)
		if err != nil {
			return v, err
		}
		v.Machine, v.Image = c.Machine, c.Image
	}
	switch {
	case !v.Machine.Agent:
		return v, errs.New(errs.ErrState, "commit: vm %q has no agent in its guest", name).Hint("make a vm without --no-agent")
	case v.Machine.Base && v.Image == nil:
		return v, fmt.Errorf("commit: of vm %q it is not known what image it is of", name)
	}
	return v, nil
}

// writeChanges has a clone of the VM name, or of its checkpoint, write what has changed.
func (m *Manager) writeChanges(ctx context.Context, name string, o CommitOptions, w io.Writer) error {
	// It is not told that it is a clone, and of one that boots nothing of its own runs: that would change it.
	s, err := m.hiddenClone(ctx, name, cmp.Or(o.Checkpoint, Now), "commit", aloneWord+" ro")
	if err != nil {
		return err
	}
	defer s.vanish(ctx)
	err = s.awaitAgent(ctx, max(o.Wait, time.Millisecond))
	if err == nil {
		err = s.copyChanges(ctx, w)
	}
	if err != nil {
		return fmt.Errorf("commit of vm %q: %w", name, err)
	}
	return nil
}

// copyChanges writes what the guest sends.
func (s *session) copyChanges(ctx context.Context, w io.Writer) error {
	client := s.agent()
	client.Patience = growWait
	said := &guestText{}
	exit, err := client.Exec(ctx, wire.Exec{Tool: true, Argv: byteSlices([]string{"changes"})}, link.Streams{Out: w, Err: said})
	if err != nil {
		return err
	}
	if err := said.failure(exit); err != nil {
		return err
	}
	for _, line := range said.lines() {
		s.warn("commit: " + line)
	}
	return nil
}

// failure is what a guest's tool failed with, if it did.
func (t *guestText) failure(exit wire.Exit) error {
	if exit.Code == 0 {
		return nil
	}
	why := fmt.Sprintf("exit code %d", exit.Code)
	if lines := t.lines(); len(lines) > 0 {
		why = lines[len(lines)-1]
	}
	err := fmt.Errorf("the guest says: %s", why)
	if strings.Contains(why, "unknown argument") {
		return errs.WithHint(err, "its agent is that of an older noid: stop the vm and start it, and try again")
	}
	return err
}

// guestText keeps the beginning of what a guest's tool says.
type guestText struct{ text bytes.Buffer }

// Write implements io.Writer. It never fails.
func (t *guestText) Write(p []byte) (int, error) {
	t.text.Write(p[:min(len(p), maxGuestText-t.text.Len())])
	return len(p), nil
}

const (
	maxGuestText = 16 << 10 // bytes
	maxGuestLine = 300
)

// lines are fit for a terminal.
func (t *guestText) lines() (list []string) {
	for line := range strings.Lines(t.text.String()) {
		list = append(list, untrusted.Line(strings.TrimSpace(line), maxGuestLine))
	}
	return list
}
