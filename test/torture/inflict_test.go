package torture

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"noid/internal/checkpoint"
)

// command is something that a user does. The VM new is there for what would end src.
type command struct {
	name string
	args []string
	// prepare brings new, or src, to where args make sense. Nil for nothing.
	prepare func(h *home) error
	code    int // its own exit code, when nothing is wrong
	// done are the exit codes of a repetition, when the tortured one had got far enough.
	done []int
	// ends says that src is another one afterwards, as it should.
	ends bool
	// holds looks whether what the command is to do is done, once it was repeated. Nil for what judge finds out by itself.
	holds func(h *home) error
}

func (c command) verb() string { return c.args[0] }

// clone makes new, a clone of checkpoint one.
func clone(h *home) error {
	_, err := h.must("restore", "src", "one", "--as", "new")
	return err
}

func then(f func(*home) error, args ...string) func(*home) error {
	return func(h *home) error {
		if err := f(h); err != nil {
			return err
		}
		_, err := h.must(h.arguments(args)...)
		return err
	}
}

var nothing = func(*home) error { return nil }

// fromOne has src come from checkpoint one, whatever it went back to before.
func fromOne(h *home) error {
	if _, err := h.must("restore", "src", "one", "--no-backup"); err != nil {
		return err
	}
	return h.setToken("src", live)
}

// variants makes two checkpoints of src what an exploration keeps.
func variants(h *home) error {
	for n := 1; n <= 2; n++ {
		id, err := h.must("checkpoint", "src")
		if err != nil {
			return err
		}
		dir := h.checkpointDir(strings.TrimSpace(id))
		c, err := checkpoint.ReadAny(dir)
		if err != nil {
			return err
		}
		c.Cause = checkpoint.Cause{By: checkpoint.ByExplore, What: "true", Turn: fmt.Sprintf("tortured.%d", n)}
		if err := checkpoint.Write(dir, c); err != nil {
			return err
		}
	}
	return nil
}

func noKernel(h *home) error { return os.RemoveAll(filepath.Join(h.dir, "kernels/made")) }

func noImages(h *home) error { return os.RemoveAll(filepath.Join(h.dir, "images")) }

// ofImage makes new, a VM with a base.
var ofImage = []string{"create", "new", "--kernel", "KERNEL", "--image", "IMAGE", "--no-agent", "--mem", "64", "--disk", "512"}

// commands are tortured in this order, and those for the network after them. KERNEL, ROOTFS, ARCHIVE and SAVED stand for files, IMAGE for an image at a registry.
var commands = []command{
	{name: "create", args: []string{"create", "new", "--kernel", "KERNEL", "--rootfs", "ROOTFS", "--no-agent", "--mem", "64"}, done: []int{4}},
	{name: "start", args: []string{"start", "new"}, prepare: then(clone, "stop", "--force", "new"), done: []int{5}},
	{name: "stop", args: []string{"stop", "--force", "new"}, prepare: clone, done: []int{5}}, // on a full disk it is not noted that noid did it
	{name: "pause", args: []string{"pause", "new"}, prepare: clone},
	{name: "resume", args: []string{"resume", "new"}, prepare: then(clone, "pause", "new")},
	{name: "checkpoint", args: []string{"checkpoint", "src", "--label", "made"}},
	{name: "checkpoint, paused", args: []string{"checkpoint", "new", "--label", "made"}, prepare: then(clone, "pause", "new")},
	{name: "restore", args: []string{"restore", "src", "one"}, ends: true},
	{name: "restore, dead", args: []string{"restore", "src", "one"}, prepare: then(nothing, "stop", "--force", "src"), ends: true},
	{name: "restore --as", args: []string{"restore", "src", "one", "--as", "new"}, done: []int{4}},
	{name: "undo", args: []string{"undo", "src"}, prepare: then(fromOne, "checkpoint", "src"), ends: true, done: []int{5}},
	{name: "prune", args: []string{"prune", "src", "--keep-last", "1"}, prepare: then(then(nothing, "checkpoint", "src"), "checkpoint", "src")},
	{name: "pin", args: []string{"pin", "src", "one"}},
	{name: "auto", args: []string{"auto", "src", "exec"}, prepare: then(nothing, "auto", "src", "off")},
	// The guest answers no command, so each fails; the VM goes back, or has a checkpoint more.
	{name: "try", args: []string{"try", "--wait-timeout", "50ms", "src", "true"}, code: 125, ends: true},
	{name: "exec, auto", args: []string{"exec", "--wait-timeout", "50ms", "src", "true"}, code: 125, prepare: then(nothing, "auto", "src", "exec")},
	{name: "explore", args: []string{"explore", "-n", "2", "--wait-timeout", "50ms", "src", "true"}, code: 1},
	{name: "keep", args: []string{"keep", "src", "1"}, prepare: variants, ends: true},
	{name: "fork", args: []string{"fork", "src", "--as", "new"}, done: []int{4}},
	// The guest is no Linux, so the command fails; what has been made of it goes.
	{name: "run --rm", args: []string{"run", "--rm", "--name", "new", "--wait-timeout", "50ms", "src@one", "true"}, code: 125},
	// The guest is no Linux here too: its clone never answers, and goes.
	{name: "exec, checkpoint", args: []string{"exec", "--wait-timeout", "50ms", "new@made", "true"}, code: 125,
		prepare: then(then(noImages, slices.DeleteFunc(slices.Clone(ofImage), func(arg string) bool { return arg == "--no-agent" })...), "checkpoint", "new", "--label", "made")},
	{name: "commit, image", args: []string{"commit", "new@made", "named:2", "--wait-timeout", "50ms"}, code: 6,
		prepare: then(then(noImages, slices.DeleteFunc(slices.Clone(ofImage), func(arg string) bool { return arg == "--no-agent" })...), "checkpoint", "new", "--label", "made")},
	{name: "rename", args: []string{"rename", "new", "other"}, prepare: then(clone, "checkpoint", "new"), done: []int{3}},
	{name: "create, image", args: ofImage, prepare: then(noImages, "image", "pull", "IMAGE"), done: []int{4}},
	{name: "checkpoint, image", args: []string{"checkpoint", "new", "--label", "made"}, prepare: then(noImages, ofImage...)},
	{name: "fork, image", args: []string{"fork", "new", "--as", "other"}, prepare: then(noImages, ofImage...), done: []int{4}},
	{name: "resize", args: []string{"resize", "new", "--disk", "512"}, prepare: clone},
	{name: "forget", args: []string{"forget", "src", "made"}, prepare: then(nothing, "checkpoint", "src", "--label", "made"), done: []int{3}},
	{name: "destroy", args: []string{"destroy", "new"}, prepare: clone, done: []int{3}},
	{name: "destroy --checkpoints", args: []string{"destroy", "new", "--checkpoints"}, prepare: then(clone, "checkpoint", "new"), done: []int{3}},
	{name: "setup", args: []string{"setup", "--image", "none"}, prepare: func(h *home) error {
		for _, args := range [][]string{{"config", "set", "kernel", h.kernel}, {"config", "unset", "rootfs"}} {
			if _, err := h.must(args...); err != nil {
				return err
			}
		}
		return os.RemoveAll(filepath.Join(h.dir, "images"))
	}},
	{name: "image pull", args: []string{"image", "pull", "IMAGE"}, prepare: noImages},
	{name: "image import", args: []string{"image", "import", "tar:ARCHIVE", "named:1"}, prepare: noImages},
	{name: "image rm", args: []string{"image", "rm", "IMAGE"}, prepare: then(noImages, "image", "pull", "IMAGE"), done: []int{3}},
	{name: "image prune", args: []string{"image", "prune"}, prepare: then(then(noImages, "image", "import", "IMAGE", "named:1"), "image", "import", "tar:ARCHIVE", "named:1")},
	{name: "image save", args: []string{"image", "save", "-o", "SAVED", "IMAGE"}, prepare: then(noImages, "image", "pull", "IMAGE")},
	{name: "kernel import", args: []string{"kernel", "import", "KERNEL", "--name", "made"}, prepare: noKernel, done: []int{4}},
	{name: "kernel rm", args: []string{"kernel", "rm", "made"}, prepare: then(noKernel, "kernel", "import", "KERNEL", "--name", "made"), done: []int{3}},
	{name: "verify", args: []string{"verify", "src", "--read-data"}},
	{name: "config", args: []string{"config", "set", "mem", "64"}},
}

func init() { commands = append(commands, networkCommands...) }

func find(name string) command {
	return commands[slices.IndexFunc(commands, func(c command) bool { return c.name == name })]
}

func (h *home) arguments(args []string) []string {
	words := strings.NewReplacer("KERNEL", h.kernel, "ROOTFS", h.rootfs, "ARCHIVE", h.archive, "IMAGE", h.image, "SAVED", filepath.Join(h.scratch, "saved.tar"))
	args = slices.Clone(args)
	for i := range args {
		args[i] = words.Replace(args[i])
	}
	return args
}

func (h *home) stage(c command) error {
	if err := h.reset(); err != nil {
		return err
	}
	if c.prepare != nil {
		return c.prepare(h)
	}
	return nil
}

// trace has the command run unharmed and returns its steps.
func (h *home) trace(c command) (steps []step) {
	if err := h.stage(c); err != nil {
		h.t.Fatalf("%s %s: %v", h.driver, c.name, err)
	}
	path := filepath.Join(h.scratch, "trace")
	os.Remove(path)
	if a := h.start(h.faultBin, []string{"NOID_FAULT_TRACE=" + path}, h.arguments(c.args)...); a.code != c.code {
		h.t.Fatalf("%s %s: exit %d: %s", h.driver, c.name, a.code, a.stderr)
	}
	if err := h.reset(); err != nil { // the helper's steps go on while its VM lives
		h.t.Fatalf("%s %s: %v", h.driver, c.name, err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		h.t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 4 {
			h.t.Fatalf("a line of the trace is %q", line)
		}
		nth, err := strconv.Atoi(f[2])
		if err != nil {
			h.t.Fatal(err)
		}
		steps = append(steps, step{verb: f[0], site: f[1], nth: nth, fails: f[3] == "error"})
	}
	if len(steps) == 0 {
		h.t.Fatalf("%s %s: no steps", h.driver, c.name)
	}
	return steps
}

// inflict does f to a fresh command and judges what is left.
func (h *home) inflict(f fault) (r result) {
	r.fault = f
	c := find(f.command)
	if err := h.stage(c); err != nil {
		r.reached = true
		r.problems = append(r.problems, problem{"stuck", "before it: " + err.Error()})
		return r
	}
	h.calm()
	srcRan := h.alive("src") == nil
	fired := filepath.Join(h.scratch, "fired")
	os.Remove(fired)
	action, script := "", ""
	switch f.kind {
	case killed:
		action = "kill"
		if f.step.after {
			action = "killafter"
		}
	case interrupt:
		action = "int"
	case noSpace, ioError:
		action = "error:" + f.kind
	case vmmKilled:
		action, script = "run", h.killVMM(c)
	case diskFull:
		action, script = "run", h.fill()
	case twice:
		return h.twice(c, srcRan)
	}
	env := []string{
		fmt.Sprintf("NOID_FAULT=%s %s %d %s", action, f.step.verb, f.step.nth, f.step.site),
		"NOID_FAULT_FIRED=" + fired, "NOID_FAULT_CMD=" + script,
	}
	a := h.start(h.faultBin, env, h.arguments(c.args)...)
	if f.step.verb != c.verb() { // a helper's step may come a moment later
		for range 20 {
			if _, err := os.Lstat(fired); err == nil {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	at, err := os.Lstat(fired)
	if err != nil {
		h.empty()
		return r
	}
	r.reached = true
	if f.kind == interrupt {
		r.ended = time.Since(at.ModTime())
		if a.code != c.code && a.code != 130 {
			r.problems = append(r.problems, problem{"stuck", fmt.Sprintf("it exits %d: %s", a.code, a.stderr)})
		}
	}
	if a.late {
		r.problems = append(r.problems, problem{"stuck", "it did not end: " + a.stderr})
	}
	if strings.Contains(a.stderr, "goroutine ") {
		r.problems = append(r.problems, problem{"stuck", "it panicked: " + a.stderr})
	}
	for _, p := range h.judge(c, f, srcRan) {
		r.problems = append(r.problems, problem{p.kind, fmt.Sprintf("%s (exit %d: %s)", p.text, a.code, strings.TrimSpace(a.stderr))})
	}
	return r
}

// killVMM is the shell command that kills the VMM of the command's VM.
func (h *home) killVMM(c command) string {
	vm := "src"
	if len(c.args) > 1 {
		vm = c.args[1]
	}
	if c.holds != nil { // NETWORK VERB ... new
		vm = "new"
	}
	if c.verb() == "config" || c.verb() == "create" || c.verb() == "run" {
		vm = "src"
	}
	list, err := h.records("list")
	if err != nil {
		h.t.Fatal(err)
	}
	for _, r := range list {
		if r.Name == vm && r.PID > 0 {
			return "kill -9 " + strconv.Itoa(r.PID)
		}
	}
	return "true"
}

// alive asks the guest itself: no noid runs that could help it.
func (h *home) alive(vm string) error {
	_, err := h.ask(vm, "c")
	return err
}

// judge looks at what f has left of a home in which src ran, or did not.
func (h *home) judge(c command, f fault, srcRan bool) (problems []problem) {
	say := func(kind, format string, args ...any) {
		problems = append(problems, problem{kind, fmt.Sprintf(format, args...)})
	}
	// The guest first, before any other noid could have it run again.
	mayDie := f.kind == vmmKilled || c.ends
	if srcRan && !mayDie {
		if token, err := h.token("src"); err != nil {
			say("lost", "src does not run on: %v", err)
		} else if token != live {
			say("lost", "src has become %q", token)
		}
	}
	h.empty()
	// The same again: it works, or finds its work done.
	a := h.run(h.arguments(c.args)...)
	stateNeeded := f.kind == vmmKilled && a.code == 5 // its VM is dead, and the command needs it alive
	if a.late || a.code != c.code && !slices.Contains(c.done, a.code) && !stateNeeded {
		say("stuck", "the repeated command exits %d: %s", a.code, strings.TrimSpace(a.stderr))
	}
	if c.holds != nil && (a.code == c.code || slices.Contains(c.done, a.code)) {
		if err := c.holds(h); err != nil {
			say("lost", "it exits %d, and %v", a.code, err)
		}
	}
	vms, err := h.records("list")
	if err != nil {
		say("stuck", "%v", err)
		return problems
	}
	for _, vm := range vms {
		paused := vm.State == "paused" && c.name != "pause" && c.name != "checkpoint, paused"
		if vm.State == "broken" || paused {
			say("lost", "%s is %s", vm.Name, vm.State)
		}
		if c.verb() == "run" && vm.Name == "new" {
			say("leaked", "%s is there", vm.Name)
		}
		if c.verb() == "commit" && vm.Name != "new" && vm.Name != "src" {
			say("leaked", "the clone %s is there", vm.Name)
		}
	}
	asNew := c.name == "restore --as" || c.name == "fork"
	if c.ends || asNew && !stateNeeded || c.verb() == "create" || c.name == "start" {
		vm := c.args[1]
		switch {
		case asNew:
			vm = "new"
		case c.ends:
			vm = "src"
		}
		if err := h.ready(vm); err != nil {
			say("lost", "%s does not run after all: %v", vm, err)
		}
	}
	problems = append(problems, h.judgeCheckpoints("src", c, srcRan)...)
	if strings.Contains(c.name, "image") {
		problems = append(problems, h.judgeImages()...)
	}
	if left := h.leftovers(); len(left) > 0 {
		say("leaked", "%s", strings.Join(left, ", "))
		for _, name := range left { // not to be found again after the next fault
			os.RemoveAll(filepath.Join(h.dir, name))
		}
	}
	// Helpers go by themselves, within a moment.
	var orphans []process
	for range 100 {
		if vms, err = h.records("list"); err != nil {
			say("stuck", "%v", err)
			return problems
		}
		if orphans = h.orphans(vms); len(orphans) == 0 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	for _, p := range orphans {
		say("orphaned", "process %d in %s: %s", p.pid, p.cwd, p.command)
	}
	if mounts, _ := os.ReadFile("/proc/mounts"); strings.Contains(string(mounts), " "+h.dir+"/") {
		say("orphaned", "a mount in the home")
	}
	return problems
}

// judgeImages compares each image with what was built of it first: the bytes are the same each time.
func (h *home) judgeImages() (problems []problem) {
	out, err := h.must("image", "ls", "--json")
	var list []struct{ Digest string }
	if err == nil {
		err = json.Unmarshal([]byte(out), &list)
	}
	if err != nil {
		return []problem{{"lost", err.Error()}}
	}
	for _, i := range list {
		data, err := os.ReadFile(filepath.Join(h.dir, "images", strings.Replace(i.Digest, ":", "-", 1), "base.ext4"))
		sum := sha256.Sum256(data)
		if h.bases[i.Digest] == nil {
			h.bases[i.Digest] = sum[:]
		}
		if err != nil || !bytes.Equal(h.bases[i.Digest], sum[:]) {
			problems = append(problems, problem{"lost", fmt.Sprintf("the base of %s is another: %v", i.Digest, err)})
		}
	}
	if parts, _ := filepath.Glob(filepath.Join(h.dir, "images/layers/*.partial")); len(parts) > 0 {
		problems = append(problems, problem{"leaked", strings.Join(parts, ", ")})
	}
	return problems
}

// judgeCheckpoints restores each checkpoint of src under another name.
func (h *home) judgeCheckpoints(vm string, c command, srcRan bool) (problems []problem) {
	say := func(kind, format string, args ...any) {
		problems = append(problems, problem{kind, fmt.Sprintf(format, args...)})
	}
	list, err := h.records("checkpoints", vm)
	if err != nil {
		say("lost", "%v", err)
		return problems
	}
	labels := map[string]bool{}
	for _, r := range list {
		labels[r.Label] = true
		want := live // what a tortured command kept of src
		if r.Label == "one" || r.Label == "two" {
			want = r.Label
		}
		repeated := c.ends && want == live // the repetition kept what the first had made of src
		got, err := h.checkpointToken(r.ID)
		if err != nil || got != want && !(repeated && got == "one") {
			say("lost", "the disk of checkpoint %s %q has %q: %v", r.ID, r.Label, got, err)
		}
		if !r.Memory {
			continue
		}
		if _, err := h.must("restore", vm, r.ID, "--as", "probe"); err != nil {
			say("lost", "checkpoint %s %q does not restore: %v", r.ID, r.Label, err)
			continue
		}
		if got, err := h.token("probe"); err != nil || got != want && !(repeated && got == "one") {
			say("lost", "checkpoint %s %q restores %q: %v", r.ID, r.Label, got, err)
		}
		if _, err := h.must("destroy", "probe"); err != nil {
			say("stuck", "%v", err)
		}
	}
	if !labels["one"] || !labels["two"] {
		say("lost", "of the checkpoints %v are left", labels)
	}
	if unused, err := h.packUnused(list); err != nil || unused > 0 {
		say("leaked", "%d bytes of the pack are no checkpoint's: %v", unused, err)
	}
	return problems
}
