// Command bench measures noid beside the bare VMM, in turns, and prints a table of medians: docs/performance.md says
// what each row is.
//
// noid is its binary, run as a user runs it. The bare side is firecracker and qemu driven by the code in this
// directory, with none of noid's; only the guest is spoken to by noid's own packages (tinyguest, link), on both sides
// where it matters. Every measured operation is also looked at for its result. A wrong one fails the bench, a slow one
// does not.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A bench is one run.
type bench struct {
	noid  string // the binary
	noop  string // a Go program that does nothing
	flow  string // one that moves bytes
	dir   string // for everything, on the file system to measure
	pairs int
	guest guest

	mu       sync.Mutex
	cleanups []func()
	report   report
}

// later has f called at the end, in reverse order.
func (b *bench) later(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cleanups = append(b.cleanups, f)
}

// cleanup calls what later was given.
func (b *bench) cleanup() {
	for {
		b.mu.Lock()
		n := len(b.cleanups)
		if n == 0 {
			b.mu.Unlock()
			return
		}
		f := b.cleanups[n-1]
		b.cleanups = b.cleanups[:n-1]
		b.mu.Unlock()
		f()
	}
}

func (b *bench) failed(what string, err error) {
	text := what + ": " + err.Error()
	fmt.Fprintln(os.Stderr, "BROKEN: "+text)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.report.Failures = append(b.report.Failures, text)
}

func (b *bench) add(r result) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.report.Results = append(b.report.Results, r)
	fmt.Fprintln(os.Stderr, strings.Join(r.cells(), " | "))
}

// errNotRun is a row that cannot be measured here; the reason stands before it.
type errNotRun struct{ why string }

func (e errNotRun) Error() string { return e.why }

func notRun(format string, args ...any) error { return errNotRun{fmt.Sprintf(format, args...)} }

func main() { os.Exit(run()) }

func run() int {
	b := &bench{}
	sets := flag.String("set", "", "comma-separated sets: tcg, direct, lab (default: tcg and direct, and what this machine can)")
	only := flag.String("run", "", "run the rows whose number matches this regular expression, as a whole")
	fs := flag.String("fs", "btrfs", "file system to make and measure on: btrfs, xfs or ext4")
	jsonPath := flag.String("json", "", "write all samples to `FILE`")
	flag.IntVar(&b.pairs, "pairs", 15, "samples of each side")
	flag.StringVar(&b.noid, "noid", "bin/noid", "noid's binary")
	flag.StringVar(&b.flow, "flow", "bin/bench-flow", "the program flow")
	flag.StringVar(&b.noop, "noop", "bin/bench-noop", "a Go program that does nothing")
	flag.Parse()
	pattern, err := regexp.Compile("^(?:" + *only + ")$")
	if err != nil || flag.NArg() > 0 || b.pairs < 1 {
		fmt.Fprintln(os.Stderr, "usage: bench [-set SETS] [-run ROWS] [-pairs N] [-fs btrfs|xfs|ext4] [-json FILE]", err)
		return 2
	}
	for _, path := range []*string{&b.noid, &b.noop, &b.flow} {
		if *path, err = filepath.Abs(*path); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			return 1
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// Before b.cleanup: what it reports as broken is in the report.
	err = func() error {
		defer b.cleanup()
		return b.all(ctx, *sets, *fs, func(row string) bool { return *only == "" || pattern.MatchString(row) })
	}()
	if err != nil && ctx.Err() == nil {
		b.failed("bench", err)
	}
	fmt.Println()
	if err := b.report.write(os.Stdout); err != nil {
		return 1
	}
	if *jsonPath != "" {
		data, err := b.report.encode()
		if err == nil {
			err = os.WriteFile(*jsonPath, data, 0o644)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			return 1
		}
	}
	if ctx.Err() != nil {
		return 130
	}
	if len(b.report.Failures) > 0 {
		return 1
	}
	return 0
}

// all runs every row that is wanted, in every set that is.
func (b *bench) all(ctx context.Context, sets, fs string, wanted func(string) bool) error {
	dir, err := os.MkdirTemp("", "noid-bench.")
	if err != nil {
		return err
	}
	b.later(func() { os.RemoveAll(dir) })
	b.dir = filepath.Join(dir, "fs")
	b.report.Machine = thisMachine(ctx, b.noid)
	if b.report.Machine.FileSystem, err = b.fileSystem(ctx, b.dir, fs); err != nil {
		return err
	}
	if err := b.guest.prepare(ctx, dir); err != nil {
		return err
	}
	fmt.Fprint(os.Stderr, b.report.Machine)
	if sets == "" {
		sets = "tcg,direct"
	}
	for _, name := range strings.Split(sets, ",") {
		settings, ok := settingsOf[name]
		if !ok {
			return fmt.Errorf("no set %q: there are tcg, direct and lab", name)
		}
		for _, s := range settings {
			for _, r := range rows {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if r.in(name) && wanted(r.number) {
					b.row(ctx, s, r)
				}
			}
		}
	}
	return nil
}

// rowLimit bounds one row: what hangs is broken, and the rows after it still run.
const rowLimit = 40 * time.Minute

// row runs one row in a home of its own and removes all of it again.
func (b *bench) row(all context.Context, s setting, r row) {
	ctx, cancel := context.WithTimeout(all, rowLimit)
	defer cancel()
	name := fmt.Sprintf("row %s, %s", r.number, s.name())
	if why := s.missing(b); why != "" {
		b.add(result{Row: r.number, Set: s.name(), Name: r.what, Goal: r.goal, NotRun: why})
		return
	}
	x, err := b.open(ctx, s, r)
	if err == nil {
		flush(b.dir)
		err = r.run(x)
	}
	x.close()
	var skipped errNotRun
	switch {
	case errors.As(err, &skipped):
		b.add(result{Row: r.number, Set: s.name(), Name: r.what, Goal: r.goal, NotRun: skipped.why})
	case err != nil && all.Err() != nil:
		b.add(result{Row: r.number, Set: s.name(), Name: r.what, Goal: r.goal, NotRun: "interrupted"})
	case err != nil:
		b.failed(name, err)
		b.add(result{Row: r.number, Set: s.name(), Name: r.what, Goal: r.goal, NotRun: "it broke, see below"})
	}
}
