package e2b

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"noid/internal/api"
	"noid/internal/vm"
	"noid/internal/vm/vmtest"
	"noid/internal/vmm"
	"noid/internal/vmm/conformance/tinyguest"
)

// world is a Handler of a home whose VMs a fake driver runs. Nobody calls its Expire.
type world struct {
	*testing.T
	*Handler
	m    *vm.Manager
	fake *vmtest.Driver
}

func newWorld(t *testing.T) *world {
	dir := t.TempDir()
	home, kernel, rootfs := filepath.Join(dir, "home"), filepath.Join(dir, "vmlinux"), filepath.Join(dir, "rootfs.ext4")
	check(t, os.WriteFile(kernel, tinyguest.Kernel(), 0o600))
	check(t, os.WriteFile(rootfs, nil, 0o600))
	check(t, os.Truncate(rootfs, 1<<20))
	if out, err := exec.Command("/sbin/mke2fs", "-q", "-F", rootfs).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	check(t, os.Mkdir(home, 0o700))
	check(t, os.WriteFile(filepath.Join(home, "config.toml"), fmt.Appendf(nil, "kernel = %q\nrootfs = %q\nwarm = \"off\"\nnet = \"none\"\n", kernel, rootfs), 0o600))
	w := &world{T: t, fake: &vmtest.Driver{MemoryFile: true}}
	w.Handler = New(Options{Log: func(text string) { t.Log(text) }, Status: func(err error) (int, string) { return http.StatusTeapot, err.Error() },
		Open: func(ctx context.Context, verb string) (*vm.Manager, error) {
			m, err := vm.Open(ctx, home, verb, false)
			if err == nil {
				m.Drivers, m.Version = vmtest.Drivers{Fake: w.fake}, "test"
			}
			return m, err
		}})
	var err error
	w.m, err = w.open(t.Context(), "serve")
	check(t, err)
	check(t, w.m.Home.Make())
	t.Cleanup(func() {
		for _, name := range w.names() {
			w.m.Destroy(context.Background(), name, true)
		}
		w.m.Close()
	})
	return w
}

func (w *world) names() []string {
	names, err := w.m.Home.VMNames()
	check(w.T, err)
	return names
}

// make makes the sandbox name with the note n.
func (w *world) make(name string, n note) {
	w.Helper()
	doc, err := n.encode()
	check(w.T, err)
	check(w.T, w.m.Create(w.Context(), vm.CreateOptions{Name: name, Note: doc}))
}

// look returns the note and the state of the sandbox name.
func (w *world) look(name string) (note, vm.State) {
	w.Helper()
	i, err := w.m.Info(w.Context(), name)
	check(w.T, err)
	return *noteOf(i.Note), i.State
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestForkLosesOne tells of each fork how it went, though one failed and another ended before its time began. Until that
// begins none is overdue.
func TestForkLosesOne(t *testing.T) {
	w := newWorld(t)
	w.make("a", note{OnEnd: onEndKill, End: time.Now().Add(time.Hour)})
	began := time.Now()
	w.o.Status = func(err error) (int, string) { // of the one that failed, while the other runs or soon does
		if !strings.Contains(err.Error(), vmtest.ErrInjected.Error()) {
			return http.StatusNotFound, err.Error()
		}
		for end := time.Now().Add(time.Minute); len(w.names()) < 2 && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		}
		for _, name := range w.names() {
			if name != "a" {
				if n, _ := w.look(name); !n.End.After(began.Add(time.Minute)) {
					t.Errorf("its time is over before it begins: %v", n.End)
				}
				_, err := w.m.Destroy(t.Context(), name, false)
				check(t, err)
			}
		}
		return http.StatusTeapot, err.Error()
	}
	w.fake.Reset(w.nth("load"))
	a := httptest.NewRecorder()
	w.ServeHTTP(a, httptest.NewRequest("POST", "/e2b/sandboxes/a/fork", strings.NewReader(`{"count":2,"timeout":0}`)))
	var list []forked
	if err := json.Unmarshal(a.Body.Bytes(), &list); err != nil || a.Code != http.StatusCreated || len(list) != 2 {
		t.Fatalf("%d %s", a.Code, a.Body)
	}
	for _, f := range list {
		if f.Error == nil || f.Sandbox != nil {
			t.Errorf("a fork that does not run: %s", a.Body)
		}
	}
}

// nth is the place among the driver's calls of the first one called name when the sandbox "a" is forked.
func (w *world) nth(name string) int {
	w.Helper()
	w.fake.Reset()
	_, err := w.m.Fork(w.Context(), "a", "", vm.ForkOptions{As: "trial"}, func(string, error) {})
	check(w.T, err)
	_, err = w.m.Destroy(w.Context(), "trial", true)
	check(w.T, err)
	for at, call := range w.fake.Calls() {
		if call == name {
			return at
		}
	}
	w.Fatalf("no call of %q: %q", name, w.fake.Calls())
	return 0
}

// hurried is the fake driver of which whoever pauses a VM goes away meanwhile.
type hurried struct {
	vmtest.Drivers
	leave context.CancelFunc
}

// Driver implements vm.Drivers.
func (h hurried) Driver(string) (vmm.Driver, error) {
	return hurriedDriver{h.Drivers.Fake, h.leave}, nil
}

type hurriedDriver struct {
	*vmtest.Driver
	leave context.CancelFunc
}

// Tell implements vmm.Driver.
func (h hurriedDriver) Tell(ctx context.Context, dir string, c vmm.Command) error {
	if c == vmm.Pause {
		h.leave()
		return ctx.Err()
	}
	return h.Driver.Tell(ctx, dir, c)
}

// TestPauseLeft leaves a sandbox its end when it could not be paused, because who asked for it went.
func TestPauseLeft(t *testing.T) {
	w := newWorld(t)
	end := time.Now().UTC().Add(time.Hour)
	w.make("a", note{OnEnd: onEndKill, End: end})
	ctx, leave := context.WithCancel(t.Context())
	w.m.Drivers = hurried{Drivers: vmtest.Drivers{Fake: w.fake}, leave: func() {
		leave()
		check(t, os.Remove(filepath.Join(w.m.Home.LocksDir(), "a.lock"))) // the lock that the pause has: another gets it next
		lock, err := w.m.Home.Lock(t.Context(), "a", "test")
		check(t, err)
		time.AfterFunc(100*time.Millisecond, lock.Unlock)
	}}
	if err := w.suspend(ctx, w.m, "a", true); err == nil || ctx.Err() == nil {
		t.Errorf("a pause that was left: %v", err)
	}
	if n, state := w.look("a"); !n.End.Equal(end) || !n.Pausing.IsZero() || state != vm.Running {
		t.Errorf("after a pause that was left: %+v, %s", n, state)
	}
}

// TestPauseKilled settles what a server left that was killed while it paused sandboxes: those that run have their end, and
// those that are paused none.
func TestPauseKilled(t *testing.T) {
	w := newWorld(t)
	end := time.Now().UTC().Add(time.Hour)
	w.make("before", note{OnEnd: onEndPause, Pausing: end})
	w.make("after", note{OnEnd: onEndPause, Pausing: end})
	w.make("over", note{OnEnd: onEndKill, Pausing: time.Now().Add(-time.Hour)})
	w.make("now", note{OnEnd: onEndKill, Pausing: end})
	check(t, w.m.Pause(t.Context(), "after"))
	w.pausing.Store("now", nil) // by this server
	if next := w.expire(t.Context(), time.Now()); !next.Equal(end) {
		t.Errorf("the next end is %v, not %v", next, end)
	}
	if n, _ := w.look("before"); !n.End.Equal(end) || !n.Pausing.IsZero() {
		t.Errorf("one that runs: %+v", n)
	}
	if n, _ := w.look("after"); !n.End.IsZero() || !n.Pausing.IsZero() {
		t.Errorf("one that is paused: %+v", n)
	}
	if n, _ := w.look("now"); !n.End.IsZero() || !n.Pausing.Equal(end) {
		t.Errorf("one that is being paused: %+v", n)
	}
	if w.m.CheckExists("over") == nil {
		t.Error("one whose time is over is there")
	}
}

// TestMadeWithEnd makes no sandbox without an end, though its time begins later.
func TestMadeWithEnd(t *testing.T) {
	w := newWorld(t)
	began := time.Now()
	check(t, w.Handler.make(t.Context(), w.m, "a", note{Template: baseTemplate}, newSandbox{}))
	if n, _ := w.look("a"); n.End.Before(began.Add(api.BootWait)) {
		t.Errorf("it ends at %v, it was made from %v", n.End, began)
	}
}

// TestMoreTime leaves a sandbox that was given more time since its end was looked at, and ends one that was not.
func TestMoreTime(t *testing.T) {
	w := newWorld(t)
	for _, how := range []string{onEndKill, onEndPause} {
		w.make(how, note{OnEnd: how, End: time.Now().Add(time.Hour)})
		check(t, w.end(t.Context(), w.m, how))
		if _, state := w.look(how); state != vm.Running {
			t.Errorf("%s: one with time is %s", how, state)
		}
		check(t, w.changeNote(t.Context(), w.m, how, func(n *note) error { n.End = time.Now(); return nil }))
		check(t, w.end(t.Context(), w.m, how))
	}
	if _, state := w.look(onEndPause); state != vm.Paused || w.m.CheckExists(onEndKill) == nil {
		t.Errorf("those without time: %s, %v", state, w.names())
	}
}
