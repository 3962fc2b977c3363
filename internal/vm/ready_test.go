package vm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"noid/internal/home"
	"noid/internal/vmm"
)

// TestTurn has the console tried when a guest has turned out to have no agent, and not before: that costs a VM its
// template.
func TestTurn(t *testing.T) {
	for _, c := range []struct {
		name, log, later string
		want             error
	}{
		{"a guest without an agent", "", "~ # ", nil},
		{"a guest with one, however slow", "noid-init: the agent runs\r\n", "~ # ", context.DeadlineExceeded},
		{"a guest that boots yet", "[    0.000000] Linux\r\n", "[    1.000000] x\r\n", context.DeadlineExceeded},
	} {
		w := newWorld(t, true)
		s, err := w.m.look("a", "exec")
		must(t, err)
		s.vm.Unannounced = &home.Announcement{Event: "create", Identity: true, Template: "key"}
		must(t, s.save())
		log := filepath.Join(w.dir("a"), vmm.SerialLogFile)
		must(t, os.WriteFile(log, []byte(c.log), 0o600))
		wait := time.Minute
		if c.want != nil {
			wait = 2 * turnEvery
		}
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		defer cancel()
		turn := make(chan error, 1)
		go func() { turn <- s.awaitTurn(ctx) }()
		must(t, os.WriteFile(log, []byte(c.log+c.later), 0o600))
		if err := <-turn; !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		v, err := w.m.Home.LoadVM("a")
		must(t, err)
		if spoilt := v.Unannounced.Template == ""; spoilt != (c.want == nil) {
			t.Errorf("%s: it may not become a template: %t", c.name, spoilt)
		}
	}
}
