package torture

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"noid/internal/network"
)

// networkCommands change the network of new, or networks between VMs.
var networkCommands = []command{
	{name: "network create", args: []string{"network", "create", "made"}, prepare: noNetwork, done: []int{4}, holds: shows("made", "network", "ls")},
	{name: "network rm", args: []string{"network", "rm", "made"}, prepare: then(noNetwork, "network", "create", "made"), done: []int{3}, holds: hides("made", "network", "ls")},
	{name: "network connect", args: []string{"network", "connect", "made", "new"}, prepare: onNetwork(), done: []int{4}, holds: shows(`"vm": "new"`, "network", "inspect", "made")},
	{name: "network disconnect", args: []string{"network", "disconnect", "made", "new"}, prepare: onNetwork("network", "connect", "made", "new"), done: []int{3},
		holds: hides(`"vm": "new"`, "network", "inspect", "made")},
	{name: "fork --network", args: []string{"fork", "new", "--as", "other", "--network", "made"}, prepare: onNetwork(), done: []int{4}, holds: shows(`"vm": "other"`, "network", "inspect", "made")},
	{name: "port add", args: []string{"port", "add", "new", "0:80"}, prepare: clone, holds: shows(`"guest": 80`, "port", "ls", "--json", "new")},
	{name: "port rm", args: []string{"port", "rm", "new", "0:80"}, prepare: then(clone, "port", "add", "new", "0:80"), done: []int{3}, holds: hides(`"guest": 80`, "port", "ls", "--json", "new")},
	{name: "net allow", args: []string{"net", "allow", "new", "192.0.2.1"}, prepare: clone, holds: shows("192.0.2.1", "net", "ls", "new")},
	{name: "net deny", args: []string{"net", "deny", "new", "192.0.2.1"}, prepare: clone, holds: shows("192.0.2.1", "net", "ls", "new")},
	{name: "secret grant", args: []string{"secret", "grant", "MADE", "new"}, prepare: then(clone, setSecret...), holds: granted(true)},
	{name: "secret revoke", args: []string{"secret", "revoke", "MADE", "new"}, prepare: then(then(clone, setSecret...), "secret", "grant", "MADE", "new"), done: []int{3}, holds: granted(false)},
}

var setSecret = []string{"secret", "set", "MADE", "--host", "made.example", "--from-cmd", "echo a-value-of-16-letters"}

// noNetwork removes the network made, on which no VM is.
func noNetwork(h *home) error {
	if a := h.run("network", "rm", "made"); a.code != 0 && a.code != 3 {
		return fmt.Errorf("network rm exits %d: %s", a.code, a.stderr)
	}
	return nil
}

// onNetwork makes the network and the VM new, and does args.
func onNetwork(args ...string) func(*home) error {
	f := then(then(noNetwork, "network", "create", "made"), "restore", "src", "one", "--as", "new")
	if len(args) > 0 {
		f = then(f, args...)
	}
	return f
}

// shows and hides look for text in what a command prints.
func shows(text string, args ...string) func(*home) error { return printed(text, true, args) }

func hides(text string, args ...string) func(*home) error { return printed(text, false, args) }

func printed(text string, wanted bool, args []string) func(*home) error {
	return func(h *home) error {
		out, err := h.must(args...)
		if err == nil && strings.Contains(out, text) != wanted {
			err = fmt.Errorf("'noid %s' has %q or not: %s", strings.Join(args, " "), text, out)
		}
		return err
	}
}

// granted looks whether the VM new may use the secret, or may not.
func granted(wanted bool) func(*home) error {
	return func(h *home) error {
		c, err := network.Load(h.vmDir("new"))
		if err == nil && slices.Contains(c.Secrets, "MADE") != wanted {
			err = fmt.Errorf("its secrets are %v", c.Secrets)
		}
		return err
	}
}

// twice has two noids do the command at once: one does it, and the other one too or it finds that done.
func (h *home) twice(c command, srcRan bool) (r result) {
	r = result{fault: fault{h.driver, c.name, twice, step{verb: c.verb()}}, reached: true}
	var both sync.WaitGroup
	var answers [2]answer
	for i := range answers {
		both.Go(func() { answers[i] = h.run(h.arguments(c.args)...) })
	}
	both.Wait()
	for _, a := range answers {
		if a.code != c.code && !slices.Contains(append(c.done, 4), a.code) { // 4: it is busy
			r.problems = append(r.problems, problem{"stuck", fmt.Sprintf("at once they exit %d: %s", a.code, a.stderr)})
		}
	}
	if answers[0].code != c.code && answers[1].code != c.code {
		r.problems = append(r.problems, problem{"lost", "neither has done it"})
	}
	r.problems = append(r.problems, h.judge(c, r.fault, srcRan)...)
	return r
}
