// Package torture breaks noid at every step that it takes and looks at what is left. A step is a call to the operating
// system; the fault-injection build (see package fault) lists its own, so a new step is tortured without anybody
// remembering it. After each fault no VM is paused or lost, no process or file is left over, every checkpoint restores
// to its own bytes, and the same command works when it is repeated.
//
// NOID_TEST_FAULT_BIN is that build and NOID_TEST_BIN the ordinary one, which does everything but the tortured command.
// NOID_TORTURE is how long to go on, such as "3m", or "all" for every case. NOID_TORTURE_ONLY selects cases by a
// regular expression over "driver command fault site"; NOID_TORTURE_FS is the file system of the homes, ext4 or btrfs,
// which root alone can have; NOID_TORTURE_SEED changes the order; NOID_TEST_DRIVER is the driver, if not both.
package torture

import (
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"noid/internal/vmm/conformance/tinyguest"
)

// defaultTime is what an ordinary 'make test' spends here.
const defaultTime = 2 * time.Minute

func TestTorture(t *testing.T) {
	bin, faultBin := os.Getenv("NOID_TEST_BIN"), os.Getenv("NOID_TEST_FAULT_BIN")
	if bin == "" || faultBin == "" {
		t.Skip("NOT RUN: NOID_TEST_BIN and NOID_TEST_FAULT_BIN are not both set ('make test' does)")
	}
	files := t.TempDir()
	kernel, rootfs := filepath.Join(files, "tiny.elf"), filepath.Join(files, "rootfs.ext4")
	if err := os.WriteFile(kernel, tinyguest.Kernel(), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mke2fs", "-q", "-t", "ext4", rootfs, "8M").CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v: %s", err, out)
	}
	var homes []*home
	for _, driver := range drivers(t) {
		homes = append(homes, newHome(t, bin, faultBin, driver, kernel, rootfs))
	}
	var mu sync.Mutex
	var results []result
	var all sync.WaitGroup
	slots := make(chan struct{}, max(1, runtime.NumCPU()))
	limit, bounded := time.Duration(0), true
	switch word := os.Getenv("NOID_TORTURE"); word {
	case "":
		limit = defaultTime
	case "all":
		bounded = false
	default:
		var err error
		if limit, err = time.ParseDuration(word); err != nil {
			t.Fatalf("NOID_TORTURE: %v", err)
		}
	}
	for _, h := range homes {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			for r := range h.torture(bounded, limit) {
				mu.Lock()
				results = append(results, r)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if os.Getenv("NOID_TORTURE") != "" {
		fmt.Print(table("steps", results, func(f fault) string { return f.step.site }))
	}
	fmt.Print(table("commands", results, func(f fault) string { return f.driver + " " + f.command }), summary(results))
	if len(results) == 0 {
		t.Error("nothing was tortured")
	}
	for _, r := range results {
		for _, p := range r.problems {
			t.Errorf("%s: %s", r.fault, p)
		}
	}
}

// drivers returns the drivers whose VMM is on this machine. Both run the tiny guest without a real KVM.
func drivers(t *testing.T) (names []string) {
	for name, binary := range map[string]string{"qemu": "qemu-system-x86_64", "firecracker": "firecracker"} {
		if only := os.Getenv("NOID_TEST_DRIVER"); only != "" && only != name {
			continue
		}
		_, err := exec.LookPath(binary)
		if name == "firecracker" && err == nil {
			var f *os.File
			if f, err = os.OpenFile("/dev/kvm", os.O_RDWR, 0); err == nil {
				f.Close()
			}
		}
		if err != nil {
			t.Logf("NOT RUN: torture of %s: %v", name, err)
			continue
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// step is a call to the operating system that a command made, as the fault-injection build tells it.
type step struct {
	verb, site string
	nth        int
	fails      bool // the call returns an error
	after      bool // the fault comes after the call, not before
}

// fault is what is done to a command at one of its steps.
type fault struct {
	driver  string
	command string
	kind    string // a column of the table
	step    step
}

func (f fault) String() string {
	at := "at"
	if f.step.after {
		at = "after"
	}
	return fmt.Sprintf("%s %s %s %s %s %s #%d", f.driver, f.command, f.kind, at, f.step.verb, f.step.site, f.step.nth)
}

// The columns of the table.
const (
	killed    = "SIGKILL"
	interrupt = "Ctrl+C"
	noSpace   = "ENOSPC"
	ioError   = "EIO"
	vmmKilled = "VMM killed"
	diskFull  = "disk full"
	twice     = "two at once" // of the whole command
)

var columns = []string{killed, interrupt, noSpace, ioError, vmmKilled, diskFull, twice}

// maxNth is up to which repetition a step is tortured: waiting loops take theirs again and again.
const maxNth = 2

// faults returns all that can be done to the command c, whose steps are given.
func (h *home) faults(c command, steps []step) (list []fault) {
	if c.holds != nil {
		list = append(list, fault{h.driver, c.name, twice, step{verb: c.verb()}})
	}
	for _, s := range steps {
		if s.nth > maxNth {
			continue
		}
		// What was said to a VMM is not only unsaid or answered: it may be said and the answer never read.
		if strings.Contains(s.site, "WriteMsgUnix") || strings.Contains(s.site, "Client.Do") {
			after := s
			after.after = true
			list = append(list, fault{h.driver, c.name, killed, after})
		}
		kinds := []string{killed}
		if s.verb == c.verb() {
			kinds = append(kinds, interrupt, vmmKilled)
			if s.fails {
				kinds = append(kinds, noSpace)
				if strings.Contains(s.site, "ync") || strings.Contains(s.site, "ename") {
					kinds = append(kinds, ioError)
				}
			}
			if h.mounted {
				kinds = append(kinds, diskFull)
			}
		}
		for _, kind := range kinds {
			list = append(list, fault{h.driver, c.name, kind, s})
		}
	}
	return list
}

// result is what a fault led to.
type result struct {
	fault    fault
	reached  bool
	problems []problem
	ended    time.Duration // how long after a Ctrl+C it ended
}

// problem is a broken promise.
type problem struct {
	kind string // lost, orphaned, leaked or stuck
	text string
}

func (p problem) String() string { return p.kind + ": " + p.text }

// torture yields the results of all faults, or of as many as limit allows, evenly over commands and kinds.
func (h *home) torture(bounded bool, limit time.Duration) func(func(result) bool) {
	return func(yield func(result) bool) {
		only := regexp.MustCompile(os.Getenv("NOID_TORTURE_ONLY"))
		seed := int64(1)
		if word := os.Getenv("NOID_TORTURE_SEED"); word != "" {
			seed, _ = strconv.ParseInt(word, 10, 64)
		}
		random := rand.New(rand.NewSource(seed))
		h.found()
		var lists [][]fault
		for _, c := range commands {
			byKind := map[string][]fault{}
			for _, f := range h.faults(c, h.trace(c)) {
				if only.MatchString(f.String()) {
					byKind[f.kind] = append(byKind[f.kind], f)
				}
			}
			for _, kind := range columns {
				random.Shuffle(len(byKind[kind]), func(i, j int) {
					byKind[kind][i], byKind[kind][j] = byKind[kind][j], byKind[kind][i]
				})
				lists = append(lists, byKind[kind])
			}
		}
		count := 0
		for _, list := range lists {
			count += len(list)
		}
		h.t.Logf("%s: %d faults, in the order of seed %d", h.driver, count, seed)
		began := time.Now()
		for i, left := 0, true; left; i++ {
			left = false
			for _, list := range lists {
				if i >= len(list) {
					continue
				}
				left = true
				if bounded && time.Since(began) > limit {
					return
				}
				r := h.inflict(list[i])
				if len(r.problems) > 0 {
					fmt.Printf("%s: %v\n", r.fault, r.problems)
				}
				if !yield(r) {
					return
				}
			}
		}
	}
}

// table shows the results: rows, which name tells of a fault, against kinds of fault; survived of inflicted.
func table(title string, results []result, name func(fault) string) string {
	type cell struct{ survived, total int }
	cells, rows := map[[2]string]cell{}, []string{}
	for _, r := range results {
		if !r.reached {
			continue
		}
		row := name(r.fault)
		if !slices.Contains(rows, row) {
			rows = append(rows, row)
		}
		key := [2]string{row, r.fault.kind}
		c := cells[key]
		c.total++
		if len(r.problems) == 0 {
			c.survived++
		}
		cells[key] = c
	}
	slices.Sort(rows)
	var out strings.Builder
	fmt.Fprintf(&out, "\n| %s: survived / inflicted |", title)
	for _, kind := range columns {
		fmt.Fprintf(&out, " %s |", kind)
	}
	fmt.Fprintf(&out, "\n|---|%s\n", strings.Repeat("---|", len(columns)))
	for _, row := range rows {
		fmt.Fprintf(&out, "| %s |", row)
		for _, kind := range columns {
			if c := cells[[2]string{row, kind}]; c.total > 0 {
				fmt.Fprintf(&out, " %d/%d |", c.survived, c.total)
			} else {
				out.WriteString(" |")
			}
		}
		out.WriteByte('\n')
	}
	return out.String()
}

// summary counts what the tables show.
func summary(results []result) string {
	kinds := map[string]int{}
	survived, total, steps := 0, 0, map[string]bool{}
	slowest := time.Duration(0)
	for _, r := range results {
		slowest = max(slowest, r.ended)
		if !r.reached {
			continue
		}
		steps[r.fault.step.site] = true
		if total++; len(r.problems) == 0 {
			survived++
		}
		for _, p := range r.problems {
			kinds[p.kind]++
		}
	}
	text := fmt.Sprintf("\n%d of %d faults at %d steps survived: %d lost, %d orphaned, %d leaked, %d stuck; the slowest to end after Ctrl+C took %.1f s",
		survived, total, len(steps), kinds["lost"], kinds["orphaned"], kinds["leaked"], kinds["stuck"], slowest.Seconds())
	if missed := len(results) - total; missed > 0 {
		text += fmt.Sprintf("; %d more were not reached: the command went another way that time", missed)
	}
	return text + "\n"
}
