package vm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"noid/internal/errs"
	"noid/internal/link"
	"noid/internal/vm/vmtest"
	"noid/internal/vmm"
)

// TestEnded has VMs end in all ways. Whoever asks something of one is told how, with the last lines of what shows more,
// harmless for a terminal.
func TestEnded(t *testing.T) {
	const console = "first\nnoid-init: mounting /dev/vda as ext4: \x1b[31mno\r\n\n"
	for _, tt := range []struct{ ending, says, end string }{
		{"reboot", `vm "a" is not running: it is stopped: its guest rebooted`, "noid-init: mounting /dev/vda as ext4: no"},
		{"panic", `vm "a" is dead: its guest's kernel panicked`, "noid-init: mounting /dev/vda as ext4: no"},
		{"", `vm "a" is dead: its VMM ended`, "fake vmm: started"},
		{"poweroff", `vm "a" is not running: it is stopped: its guest powered off or halted`, ""},
	} {
		w := newWorld(t, true)
		must(t, os.WriteFile(filepath.Join(w.dir("a"), vmm.SerialLogFile), []byte(strings.Repeat("old\n", quotedLines)+console), 0o600))
		must(t, os.WriteFile(filepath.Join(w.dir("a"), vmtest.EndingFile), []byte(tt.ending), 0o600))
		s, err := w.m.open(t.Context(), "a", "create")
		must(t, err)
		must(t, s.vm.Process.Kill(t.Context()))
		s.close()
		_, execErr := w.m.Exec(t.Context(), "a", Command{Argv: []string{"true"}, Wait: time.Minute}, Streams{})
		for what, err := range map[string]error{
			"exec": execErr, "create": s.explain(link.ErrDead), "pause": w.m.Pause(t.Context(), "a"),
			"ps": func() error { _, err := w.m.Jobs(t.Context(), "a"); return err }(),
		} {
			if !errors.Is(err, errs.ErrState) || !strings.HasPrefix(err.Error(), what+": "+tt.says) || !strings.HasSuffix(err.Error(), tt.end) ||
				strings.Count(err.Error(), "old") > quotedLines || errs.Hint(err) == "" {
				t.Errorf("%s after %q: %v\nwant %s ... %s", what, tt.ending, err, tt.says, tt.end)
			}
		}
	}
}

// TestEndedOnPurpose: a command whose VM is stopped or destroyed under it is told that.
func TestEndedOnPurpose(t *testing.T) {
	for says, end := range map[string]func(context.Context, *Manager) error{
		`exec: vm "a" is not running: it is stopped`: func(ctx context.Context, m *Manager) error { return m.Stop(ctx, "a", true) },
		`exec: vm "a" was destroyed meanwhile`:       func(ctx context.Context, m *Manager) error { _, err := m.Destroy(ctx, "a", true); return err },
	} {
		w := newWorld(t, true)
		s, err := w.m.running(t.Context(), "a", "exec")
		must(t, err)
		must(t, end(t.Context(), w.m))
		if _, err := s.execAgent(t.Context(), Command{Argv: []string{"true"}}, Streams{}, time.Minute); err == nil || err.Error() != says {
			t.Errorf("%v, want %s", err, says)
		}
	}
}

// TestPausedForSpace has a VM that its VMM has paused: who lists it, looks at it or wants something of it is told why.
func TestPausedForSpace(t *testing.T) {
	w := newWorld(t, true)
	must(t, w.m.Pause(t.Context(), "a"))
	if infos, err := w.m.List(t.Context()); err != nil || infos[0].Why != "" {
		t.Errorf("a VM that a user has paused: %+v, %v", infos, err)
	}
	must(t, os.WriteFile(filepath.Join(w.dir("a"), vmtest.WaitsFile), []byte("the disk is full"), 0o600))
	infos, err := w.m.List(t.Context())
	if err != nil || infos[0].State != Paused || infos[0].Why != "the disk is full" {
		t.Errorf("list: %+v, %v", infos, err)
	}
	if d, err := w.m.Inspect(t.Context(), "a"); err != nil || d.Why != "the disk is full" {
		t.Errorf("inspect: %+v, %v", d, err)
	}
	s, err := w.m.look("a", "create")
	must(t, err)
	_, execErr := w.m.Exec(t.Context(), "a", Command{Argv: []string{"true"}, Wait: time.Minute}, Streams{})
	for what, err := range map[string]error{"exec": execErr, "resume": w.m.Resume(t.Context(), "a"), "create": s.ready(t.Context(), time.Minute)} {
		if !errors.Is(err, errs.ErrHost) || err.Error() != what+`: vm "a" is paused: the disk is full` || errs.Hint(err) == "" {
			t.Errorf("%s: %v", what, err)
		}
	}
	must(t, os.Remove(filepath.Join(w.dir("a"), vmtest.WaitsFile)))
	must(t, w.m.Resume(t.Context(), "a"))
}
