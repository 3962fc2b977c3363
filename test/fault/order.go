package fault

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// order is what NOID_FAULT says.
type order struct {
	action string
	errno  unix.Errno // of action "error", else 0
	verb   string
	nth    int
	site   string
}

func parse(text string) (*order, error) {
	words := strings.SplitN(text, " ", 4)
	if len(words) != 4 {
		return nil, errors.New(`want "ACTION VERB NTH SITE"`)
	}
	nth, err := strconv.Atoi(words[2])
	if err != nil || nth < 1 {
		return nil, fmt.Errorf("no such count: %q", words[2])
	}
	o := &order{action: words[0], verb: words[1], nth: nth, site: words[3]}
	if name, ok := strings.CutPrefix(o.action, "error:"); ok {
		o.action = "error"
		if o.errno = errnoOf(name); o.errno == 0 {
			return nil, fmt.Errorf("no such errno: %q", name)
		}
		return o, nil
	}
	switch o.action {
	case "kill", "killafter", "int", "run", "runafter":
		return o, nil
	}
	return nil, fmt.Errorf("no such action: %q", o.action)
}

// errnoOf returns the errno of that name, or 0. Linux has numbers up to 133.
func errnoOf(name string) unix.Errno {
	for e := unix.Errno(1); e < 256; e++ {
		if unix.ErrnoName(e) == name {
			return e
		}
	}
	return 0
}

// failure is the error that the call at site is to return. Bare system calls return a bare errno, to which callers
// compare.
func (o *order) failure() error {
	callee := o.site[strings.LastIndexByte(o.site, ' ')+1:]
	if strings.HasPrefix(callee, "unix.") || strings.HasPrefix(callee, "syscall.") {
		return o.errno
	}
	return &os.PathError{Op: "injected", Path: o.site, Err: o.errno}
}

// before does what comes before the call.
func (o *order) before() {
	switch o.action {
	case "kill":
		die()
	case "int":
		interrupt()
	case "run":
		run()
	}
}

// after does what comes after the call.
func (o *order) after() {
	switch o.action {
	case "killafter":
		die()
	case "runafter":
		run()
	}
}

func die() {
	unix.Kill(os.Getpid(), unix.SIGKILL)
	select {} // it is on its way
}

// interrupt has the signal delivered to this very thread: whoever handles it has been told when the call is made.
func interrupt() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGINT)
}

// run runs NOID_FAULT_CMD, without orders to the noids that it may start.
func run() {
	cmd := exec.Command("/bin/sh", "-c", os.Getenv("NOID_FAULT_CMD"))
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "NOID_FAULT") {
			cmd.Env = append(cmd.Env, entry)
		}
	}
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr // noid's stdout is data
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "fault: NOID_FAULT_CMD:", err)
	}
}
