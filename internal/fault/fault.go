// Package fault is the runtime of the fault-injection build: noid with a fault to order at each call that it makes to the
// operating system. Command instrument makes the sources of that build by wrapping those calls in Wrap; the ordinary noid
// has nothing of it.
//
// The environment orders:
//
//	NOID_FAULT_TRACE=FILE   append a line for each call: verb, site, how often the site was reached, and "error" when the
//	                        call can fail, else "plain"; separated by tabs
//	NOID_FAULT="ACTION VERB NTH SITE"
//	                        in a process whose first argument is VERB, when SITE is reached for the NTH time, do ACTION:
//	                        kill, killafter  SIGKILL to itself before or after the call
//	                        int              SIGINT to itself before the call
//	                        error:ENOSPC     fail with that error, without making the call; or any other name of an errno
//	                        run, runafter    run NOID_FAULT_CMD in a shell before or after the call
//	NOID_FAULT_FIRED=FILE   is made when ACTION happens
package fault

import (
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// order is what NOID_FAULT says.
type order struct {
	action string
	site   string
	nth    int
}

var (
	mu      sync.Mutex
	verb    string
	reached = map[string]int{}
	trace   *os.File
	ordered *order // nil when nothing is ordered of this process, or it has happened
)

func init() {
	if len(os.Args) > 1 {
		verb = os.Args[1]
	}
	if path := os.Getenv("NOID_FAULT_TRACE"); path != "" {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			panic(err)
		}
		trace = f
	}
	if text := os.Getenv("NOID_FAULT"); text != "" {
		words := strings.SplitN(text, " ", 4)
		if len(words) != 4 {
			panic("NOID_FAULT: " + text)
		}
		nth, err := strconv.Atoi(words[2])
		if err != nil {
			panic("NOID_FAULT: " + text)
		}
		if words[1] == verb {
			ordered = &order{action: words[0], site: words[3], nth: nth}
		}
	}
}

var errorType = reflect.TypeFor[error]()

// Wrap returns f with a step at it: what is ordered for site happens when the result is called.
func Wrap[F any](site string, f F) F {
	call := reflect.ValueOf(f)
	kind := call.Type()
	results := kind.NumOut()
	fails := results > 0 && kind.Out(results-1) == errorType
	return reflect.MakeFunc(kind, func(args []reflect.Value) []reflect.Value {
		action := reach(site, fails)
		switch {
		case action == "kill":
			die()
		case action == "int":
			unix.Kill(os.Getpid(), unix.SIGINT)
		case action == "run":
			run()
		case strings.HasPrefix(action, "error:") && fails:
			out := make([]reflect.Value, results)
			for i := range out {
				out[i] = reflect.Zero(kind.Out(i))
			}
			errno := errnoOf(strings.TrimPrefix(action, "error:"))
			err := error(&os.PathError{Op: "injected", Path: site, Err: errno})
			out[results-1] = reflect.ValueOf(&err).Elem()
			return out
		}
		var out []reflect.Value
		if kind.IsVariadic() {
			out = call.CallSlice(args)
		} else {
			out = call.Call(args)
		}
		switch action {
		case "killafter":
			die()
		case "runafter":
			run()
		}
		return out
	}).Interface().(F)
}

// reach counts site and returns the action that is due, or "".
func reach(site string, fails bool) string {
	mu.Lock()
	defer mu.Unlock()
	reached[site]++
	nth := reached[site]
	if trace != nil {
		kind := "plain"
		if fails {
			kind = "error"
		}
		fmt.Fprintf(trace, "%s\t%s\t%d\t%s\n", verb, site, nth, kind)
	}
	if ordered == nil || ordered.site != site || ordered.nth != nth {
		return ""
	}
	action := ordered.action
	ordered = nil
	if path := os.Getenv("NOID_FAULT_FIRED"); path != "" {
		os.WriteFile(path, []byte(site), 0o600)
	}
	return action
}

func die() {
	unix.Kill(os.Getpid(), unix.SIGKILL)
	select {} // it is on its way
}

func run() {
	cmd := exec.Command("/bin/sh", "-c", os.Getenv("NOID_FAULT_CMD"))
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.Run()
}

func errnoOf(name string) unix.Errno {
	for e := unix.Errno(1); e < 200; e++ {
		if unix.ErrnoName(e) == name {
			return e
		}
	}
	panic("NOID_FAULT: no errno is called " + name)
}
