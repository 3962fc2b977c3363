package vm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"noid/internal/errs"
	"noid/internal/vm/vmtest"
)

// newRunWorld has the VM "a" and its checkpoint "old". Commands of guests run on this machine.
func newRunWorld(t *testing.T) *world {
	w := newWorld(t)
	w.fake.Program = []string{os.Args[0], asAgent}
	must(t, w.m.Create(t.Context(), CreateOptions{Name: "a", Wait: time.Minute}))
	_, err := w.m.Checkpoint(t.Context(), "a", "old")
	must(t, err)
	w.fake.Reset()
	return w
}

// run has the shell run script in a new VM, and returns what that is called, the exit code and the output.
func (w *world) run(o RunOptions, script string) (name string, code int, out string, err error) {
	var b bytes.Buffer
	name, exit, err := w.m.Run(w.Context(), o, Command{Argv: []string{"sh", "-c", script}, Wait: time.Minute}, Streams{Out: &b})
	return name, exit.Code, b.String(), err
}

var ofOld = RunOptions{VM: "a", Checkpoint: "old", Remove: true}

// TestRun runs a command in a clone that goes away, with each step failing: nothing is left.
func TestRun(t *testing.T) {
	w := newRunWorld(t)
	before := w.look()
	name, code, out, err := w.run(ofOld, "echo out; exit 7")
	if err != nil || code != 7 || out != "out\n" || !strings.Contains(name, "-") {
		t.Errorf("%q: exit %d, %q, %v", name, code, out, err)
	}
	steps := slices.Compact(w.fake.Calls()) // an agent that is not there yet is asked again
	if want := []string{"can load", "load", "resume", "agent restored", "agent exec"}; cmp.Diff(want, steps) != "" {
		t.Errorf("steps: %q, not %q", steps, want)
	}
	for at, step := range steps {
		w.fake.Reset(at)
		_, code, _, err := w.run(ofOld, "exit 7")
		if told := step == "agent restored"; told && (err != nil || code != 7) { // it is told again
			t.Errorf("%s fails: exit %d, %v", step, code, err)
		} else if !told && !errors.Is(err, vmtest.ErrInjected) && !strings.Contains(fmt.Sprint(err), vmtest.ErrInjected.Error()) {
			t.Errorf("%s fails: %v", step, err)
		}
		if got := w.look(); got != before {
			t.Errorf("%s fails: %s, not %s", step, got, before)
		}
		w.noLeftovers(step + " fails")
	}
}

// TestRunWarm: the first run of a kind boots, the next ones are restored.
func TestRunWarm(t *testing.T) {
	w := newRunWorld(t)
	w.m.Config.Warm = ""
	before := w.look()
	for _, want := range []string{"start", "load"} {
		w.fake.Reset()
		if _, code, _, err := w.run(RunOptions{Remove: true}, "exit 7"); err != nil || code != 7 {
			t.Errorf("exit %d, %v", code, err)
		}
		if got := w.fake.Calls(); !slices.Contains(got, want) {
			t.Errorf("%v, without %q", got, want)
		}
		if got := w.look(); got != before {
			t.Errorf("%s, not %s", got, before)
		}
		w.noLeftovers("a run")
	}
}

// TestRunStays: without Remove the VM is stopped; it runs on when noid could not run the command.
func TestRunStays(t *testing.T) {
	w := newRunWorld(t)
	o := RunOptions{VM: "a", Checkpoint: "old", CreateOptions: CreateOptions{Name: "b"}}
	_, code, _, err := w.run(o, "exit 7")
	info, _ := w.m.Info(t.Context(), "b")
	if err != nil || code != 7 || info.State != Stopped {
		t.Errorf("exit %d, %v, it is %s", code, err, info.State)
	}
	if _, _, _, err = w.run(o, "exit 7"); !errors.Is(err, errs.ErrExists) {
		t.Errorf("the name is taken: %v", err)
	}
	w.fake.Reset(4)
	o.Name = "c"
	_, _, _, err = w.run(o, "exit 7")
	info, _ = w.m.Info(t.Context(), "c")
	if err == nil || info.State != Running {
		t.Errorf("exec fails: %v, it is %s", err, info.State)
	}
	w.noLeftovers("runs")
}

// heard says when something was written.
type heard chan struct{}

func (h heard) Write(b []byte) (int, error) {
	select {
	case h <- struct{}{}:
	default:
	}
	return len(b), nil
}

// TestRunRenamed: a VM that was renamed while its command ran is stopped, or goes; one that has its name now does not.
func TestRunRenamed(t *testing.T) {
	for _, remove := range []bool{false, true} {
		w := newRunWorld(t)
		o := RunOptions{VM: "a", Checkpoint: "old", CreateOptions: CreateOptions{Name: "b"}, Remove: remove}
		in, typed := io.Pipe()
		up, exit := make(heard, 1), make(chan error, 1)
		go func() {
			_, _, err := w.m.Run(t.Context(), o, Command{Argv: []string{"sh", "-c", "echo up; read line"}, Stdin: true, Wait: time.Minute}, Streams{Out: up, In: in})
			exit <- err
		}()
		<-up
		must(t, w.m.Rename(t.Context(), "b", "c"))
		must(t, w.m.Create(t.Context(), CreateOptions{Name: "b"}))
		typed.Close()
		must(t, <-exit)
		b, err := w.m.Info(t.Context(), "b")
		if err != nil || b.State != Running {
			t.Errorf("remove %t: another's VM is %s, %v", remove, b.State, err)
		}
		c, err := w.m.Info(t.Context(), "c")
		if remove != errors.Is(err, errs.ErrNotFound) || !remove && c.State != Stopped {
			t.Errorf("remove %t: its own VM is %s, %v", remove, c.State, err)
		}
	}
}

// TestRunNames: runs side by side, for which there are few names, get one each.
func TestRunNames(t *testing.T) {
	w := newRunWorld(t)
	words, others := adjectives, animals
	defer func() { adjectives, animals = words, others }()
	adjectives, animals = []string{"one", "two"}, []string{"ant"}
	var all sync.WaitGroup
	var mu sync.Mutex
	var names []string
	for range 6 {
		all.Go(func() {
			name, exit, err := w.m.Run(t.Context(), RunOptions{VM: "a", Checkpoint: "old"},
				Command{Argv: []string{"sleep", "100"}, Wait: time.Minute, Detach: true}, Streams{})
			if err != nil || exit.Job == "" {
				t.Errorf("%q: %+v, %v", name, exit, err)
			}
			mu.Lock()
			defer mu.Unlock()
			names = append(names, name)
		})
	}
	all.Wait()
	slices.Sort(names)
	if len(slices.Compact(names)) != 6 || !slices.Contains(names, "one-ant") {
		t.Errorf("names: %q", names)
	}
}
