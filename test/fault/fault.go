// Package fault is the runtime of the fault-injection build: noid with a fault to order at each call that it makes to
// the operating system. Command instrument makes the sources of that build by wrapping those calls in Wrap; the
// ordinary noid has nothing of it. A wrapped call is a step, its place in the source its site.
//
// The environment orders:
//
//	NOID_FAULT_TRACE=FILE   append a line for each step: verb, site, how often the site was reached, and "error" when the
//	                        call can fail, else "plain"; separated by tabs
//	NOID_FAULT="ACTION VERB NTH SITE"
//	                        in a process whose first argument is VERB, when SITE is reached for the NTH time, from 1, do
//	                        ACTION, once:
//	                        kill, killafter  SIGKILL to itself before or after the call
//	                        int              SIGINT to itself before the call
//	                        error:ENOSPC     fail with that error, without making the call; or any other name of an errno.
//	                                         Nothing happens where the call cannot fail
//	                        run, runafter    run NOID_FAULT_CMD in a shell before or after the call, and wait for it
//	NOID_FAULT_FIRED=FILE   is made just before ACTION happens. While it exists nothing happens: an order is for one
//	                        process, also when another with that verb is started later
//
// The processes that noid starts of itself have its environment, and verbs of their own.
package fault

import (
	"fmt"
	"os"
	"sync"
)

var (
	mu      sync.Mutex
	verb    string
	reached = map[string]int{}
	trace   *os.File // nil when there is none
	ordered *order   // nil when nothing is ordered of this process, or it has happened
	idle    bool     // neither trace nor order, from the start
)

func init() {
	if len(os.Args) > 1 {
		verb = os.Args[1]
	}
	err := configure()
	if err != nil { // a test that orders what does not exist must not pass
		fmt.Fprintln(os.Stderr, "fault:", err)
		os.Exit(2)
	}
	idle = trace == nil && ordered == nil
}

func configure() (err error) {
	if path := os.Getenv("NOID_FAULT_TRACE"); path != "" {
		if trace, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
			return err
		}
	}
	if text := os.Getenv("NOID_FAULT"); text != "" {
		o, err := parse(text)
		if err != nil {
			return fmt.Errorf("NOID_FAULT=%q: %w", text, err)
		}
		if o.verb == verb {
			ordered = o
		}
	}
	return nil
}

// reach counts site and returns the order that is due, or nil.
func reach(site string, fails bool) *order {
	mu.Lock()
	defer mu.Unlock()
	reached[site]++
	nth := reached[site]
	if trace != nil {
		kind := "plain"
		if fails {
			kind = "error"
		}
		fmt.Fprintf(trace, "%s\t%s\t%d\t%s\n", verb, site, nth, kind) // one write, so lines of many processes do not mix
	}
	o := ordered
	if o == nil || o.site != site || o.nth != nth {
		return nil
	}
	ordered = nil
	if o.errno != 0 && !fails || !first() {
		return nil
	}
	return o
}

// first makes the file that says that the order is carried out. It reports false when another process has.
func first() bool {
	path := os.Getenv("NOID_FAULT_FIRED")
	if path == "" {
		return true
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		if !os.IsExist(err) {
			fmt.Fprintln(os.Stderr, "fault:", err)
		}
		return false
	}
	f.Close()
	return true
}
