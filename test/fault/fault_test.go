package fault

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// arm gives an order to this process, for the test's time.
func arm(t *testing.T, text string) {
	t.Helper()
	o, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOID_FAULT_FIRED", "")
	idle, ordered, reached = false, o, map[string]int{}
	t.Cleanup(func() { idle, ordered = true, nil })
}

func TestWrapFails(t *testing.T) {
	arm(t, "error:ENOSPC v 2 a.go:1 os.CreateTemp")
	made := 0
	create := Wrap("a.go:1 os.CreateTemp", func(dir string) (*os.File, int, error) { made++; return os.Stdin, 7, nil })
	for nth := 1; nth <= 3; nth++ {
		f, n, err := create("")
		if nth != 2 {
			if f != os.Stdin || n != 7 || err != nil {
				t.Errorf("call %d: %v, %d, %v", nth, f, n, err)
			}
			continue
		}
		var pathError *fs.PathError
		if f != nil || n != 0 || !errors.Is(err, unix.ENOSPC) || !errors.As(err, &pathError) {
			t.Errorf("call %d: %v, %d, %v, want zeros and a path's ENOSPC", nth, f, n, err)
		}
	}
	if made != 2 {
		t.Errorf("%d calls were made, want 2", made)
	}
}

func TestWrapFailsBare(t *testing.T) {
	arm(t, "error:EIO v 1 a.go:1 unix.Mkfifo")
	if err := Wrap("a.go:1 unix.Mkfifo", unix.Mkfifo)(t.TempDir()+"/x", 0); err != unix.EIO {
		t.Errorf("%#v, want an errno to compare to", err)
	}
}

func TestWrapCannotFail(t *testing.T) {
	arm(t, "error:EIO v 1 a.go:1 os.X")
	fired := filepath.Join(t.TempDir(), "fired")
	t.Setenv("NOID_FAULT_FIRED", fired)
	if got := Wrap("a.go:1 os.X", func() int { return 5 })(); got != 5 {
		t.Errorf("%d, want 5", got)
	}
	if _, err := os.Lstat(fired); err == nil {
		t.Error("it fired")
	}
}

func TestWrapVariadic(t *testing.T) {
	arm(t, "run v 9 elsewhere")
	sprint := Wrap("a.go:1 fmt.Sprint", fmt.Sprint)
	if got := sprint(1, 2) + sprint([]any{3, 4}...) + sprint(); got != "1 23 4" {
		t.Errorf("%q", got)
	}
}

func TestWrapOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	for _, test := range []struct {
		flags int
		step  bool
	}{
		{os.O_RDONLY, false},
		{os.O_WRONLY | os.O_APPEND | unix.O_NOFOLLOW | unix.O_DIRECTORY, false},
		{os.O_RDWR | os.O_CREATE, true},
		{os.O_WRONLY | os.O_TRUNC, true},
		{unix.O_TMPFILE | os.O_RDWR, true},
	} {
		arm(t, "error:EDQUOT v 1 a.go:1 os.OpenFile")
		open := WrapOpen("a.go:1 os.OpenFile", 1, os.OpenFile)
		if _, err := open(path, test.flags, 0); errors.Is(err, unix.EDQUOT) != test.step {
			t.Errorf("flags %#x: %v, want a step: %v", test.flags, err, test.step)
		}
	}
}

func TestWrapConcurrently(t *testing.T) {
	arm(t, "error:EIO v 50 a.go:1 os.X")
	f := Wrap("a.go:1 os.X", func() error { return nil })
	var failed sync.Map
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			if err := f(); err != nil {
				failed.Store(i, err)
			}
		})
	}
	all.Wait()
	n := 0
	failed.Range(func(any, any) bool { n++; return true })
	if n != 1 || reached["a.go:1 os.X"] != 100 {
		t.Errorf("%d of %d calls failed, want one of 100", n, reached["a.go:1 os.X"])
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"kill create 3 vm/create.go:1 os.Mkdir/2": "",
		"":                     "want",
		"kill create 3":        "want",
		"kill create 0 a b":    "no such count",
		"kill create x a b":    "no such count",
		"error create 1 a b":   "no such action",
		"error:EX create 1 a":  "no such errno",
		"error:EIO create 1 a": "",
	} {
		_, err := parse(text)
		if err == nil != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestInterrupt(t *testing.T) {
	arm(t, "int v 1 a.go:1 os.X")
	got := make(chan os.Signal, 1)
	signal.Notify(got, unix.SIGINT)
	defer signal.Stop(got)
	called := false
	Wrap("a.go:1 os.X", func() { called = true })()
	select {
	case <-got:
	case <-time.After(10 * time.Second):
		t.Error("no SIGINT came")
	}
	if !called {
		t.Error("the call was not made")
	}
}
