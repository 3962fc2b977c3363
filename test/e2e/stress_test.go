package e2e

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"noid/internal/vmm/conformance/tinyguest"
)

const (
	// stressBound is longer than any command here may take on a busy machine: two locks of 10 s each and some starts of
	// VMMs.
	stressBound = 2 * time.Minute
	// askBound is how long the guest may take to answer.
	askBound = time.Minute
	// settleBound is how long what goes on in the background may take: a guard that has a VM run again, a helper that
	// leaves.
	settleBound = time.Minute
	maxProblems = 20
)

// stress is many noids at once on one home.
type stress struct {
	noid
	drivers []string
	rootfs  string

	mu       sync.Mutex
	problems []string
	codes    map[string]map[int]int   // how often each verb ended with each code
	slowest  map[string]time.Duration // run
	spent    map[string]time.Duration // in all
	slowInt  map[string]time.Duration // from SIGINT to the end
}

// TestManyAtOnce has 50 noid processes at a time work on one home for NOID_TEST_STRESS (such as "10m"; else 30 s and
// fewer of them), on VMs that all share and on VMs of their own, while some of them are interrupted or killed and the
// database is deleted or damaged. NOID_TEST_STRESS_SEED repeats the choices of a run, though not its timing.
//
// Of a VM that one worker alone uses, each exit code and each token that the guest keeps must be the ones that the
// commands so far explain. Of a shared one, a code must be one that a race explains. Afterwards the home is audited.
func TestManyAtOnce(t *testing.T) {
	duration, owners, others := 30*time.Second, 6, 10
	if text := os.Getenv("NOID_TEST_STRESS"); text != "" {
		var err error
		if duration, err = time.ParseDuration(text); err != nil {
			t.Fatalf("NOID_TEST_STRESS: %v", err)
		}
		owners, others = 16, 34
	}
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("NOID_TEST_STRESS_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("NOID_TEST_STRESS_SEED: %v", err)
		}
	}
	s := newStress(t)
	t.Logf("NOID_TEST_STRESS_SEED=%d, %v with %d processes at a time, on %v", seed, duration, owners+others, s.drivers)
	shared := []string{"calm-0", "calm-1", "wild-0", "wild-1"}
	for i, name := range shared {
		s.want(0, s.create(name, s.drivers[i%len(s.drivers)])...)
	}
	ctx, cancel := context.WithTimeout(t.Context(), duration)
	defer cancel()
	var all sync.WaitGroup
	for i := range owners {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		all.Go(func() { newOwner(s, rng, fmt.Sprintf("own-%d", i), s.drivers[i%len(s.drivers)]).work(ctx) })
	}
	for i := range others {
		rng := rand.New(rand.NewPCG(seed, uint64(1000+i)))
		all.Go(func() { s.share(ctx, rng, shared) })
	}
	all.Go(func() { s.damage(ctx, rand.New(rand.NewPCG(seed, 2000))) })
	all.Wait()
	s.report()
	if !t.Failed() {
		s.audit()
	}
}

// newStress makes a home whose guests are tiny ones.
func newStress(t *testing.T) *stress {
	s := &stress{noid: setup(t), codes: map[string]map[int]int{}, slowest: map[string]time.Duration{}, spent: map[string]time.Duration{}, slowInt: map[string]time.Duration{}}
	if _, err := exec.LookPath("qemu-system-x86_64"); err == nil {
		s.drivers = append(s.drivers, "qemu")
	}
	if _, err := exec.LookPath("firecracker"); err == nil {
		if f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err == nil {
			f.Close()
			s.drivers = append(s.drivers, "firecracker")
		}
	}
	if len(s.drivers) == 0 {
		t.Skip("NOT RUN: neither qemu-system-x86_64 nor firecracker with /dev/kvm is here")
	}
	dir := t.TempDir()
	kernel := filepath.Join(dir, "tiny.elf")
	if err := os.WriteFile(kernel, tinyguest.Kernel(), 0o600); err != nil {
		t.Fatal(err)
	}
	s.rootfs = filepath.Join(dir, "small.ext4")
	mke2fs := exec.Command("mke2fs", "-q", "-t", "ext4", s.rootfs, "1m")
	mke2fs.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if mke2fs.Path == "mke2fs" { // not on PATH
		mke2fs.Path, mke2fs.Err = "/sbin/mke2fs", nil
	}
	if out, err := mke2fs.CombinedOutput(); err != nil {
		t.Skipf("NOT RUN: mke2fs: %v %s", err, out)
	}
	s.want(0, "config", "set", "kernel", kernel)
	s.want(0, "config", "set", "rootfs", s.rootfs)
	return s
}

// create is the command that makes a VM with a tiny guest.
func (s *stress) create(name, driver string) []string {
	return []string{"create", name, "--driver", driver, "--no-agent", "--mem", "64", "--cpus", "1"}
}

// share works on VMs that others work on too. Those called calm are never paused or stopped by anybody.
func (s *stress) share(ctx context.Context, rng *rand.Rand, names []string) {
	for ctx.Err() == nil {
		name := names[rng.IntN(len(names))]
		call := func(codes []int, args ...string) { s.among(s.call(rng, true, args...), codes...) }
		looks := []func(){
			func() { s.list(rng, true) },
			func() { s.checkpoints(rng, true, name) },
			func() { call([]int{0, 3}, "inspect", name) },
			func() { call([]int{0, 3}, "logs", name) },
			func() { call([]int{0}, "config", "set", "mem", strconv.Itoa(64+rng.IntN(64))) },
			func() { call([]int{0, 3}, "config", "get", "mem") },
			func() { call([]int{0}, "config", "unset", "mem") },
			func() { call([]int{0}, "config", "list") },
			func() { call([]int{0}, "doctor") },
			func() { call([]int{0}, "doctor", "--repair") },
			func() { tinyguest.Ask(s.vmDir(name), fmt.Sprintf("d %d", rng.IntN(8)), time.Second) },
			func() { tinyguest.Ask(s.vmDir(name), "c", time.Second) },
		}
		one := func() string { // a checkpoint of name's
			list, _ := s.checkpoints(rng, false, name)
			if len(list) == 0 {
				return "00000000"
			}
			return list[rng.IntN(len(list))].ID
		}
		changes := []func(){
			func() { call([]int{0, 3, 4, 5}, "checkpoint", name, "--label", "shared") },
			func() { call([]int{0, 3, 4, 5}, "restore", name, one()) },
			func() { call([]int{0, 3, 4}, "restore", name, one(), "--no-backup") },
			func() {
				clone := fmt.Sprintf("clone-%d", rng.IntN(4)) // others may make, and destroy, the same
				call([]int{0, 3, 4}, "restore", name, one(), "--as", clone)
				call([]int{0, 3, 4}, "destroy", clone, "--checkpoints")
			},
			func() {
				if list, _ := s.checkpoints(rng, false, name); len(list) > 5 {
					call([]int{0, 3, 4}, "forget", name, list[0].ID, list[1].ID, list[2].ID)
				}
			},
			func() { call([]int{0, 3, 4, 5}, "start", name) },
			func() { call([]int{0, 3, 4, 5}, "resume", name) },
			func() { call([]int{0, 3, 4}, s.create(name, s.drivers[rng.IntN(len(s.drivers))])...) },
		}
		if strings.HasPrefix(name, "wild") {
			changes = append(changes,
				func() { call([]int{0, 3, 4, 5}, "pause", name) },
				func() { call([]int{0, 3, 4, 5}, "stop", "--force", name) },
				func() { call([]int{0, 3, 4}, "destroy", name) },
				func() { tinyguest.Ask(s.vmDir(name), "h", 0) }, // the guest ends by itself
			)
		}
		if rng.IntN(2) == 0 {
			looks[rng.IntN(len(looks))]()
		} else {
			changes[rng.IntN(len(changes))]()
		}
	}
}

// damage deletes or damages the database now and then.
func (s *stress) damage(ctx context.Context, rng *rand.Rand) {
	db := filepath.Join(s.home, "noid.db")
	for ctx.Err() == nil {
		time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
		junk := make([]byte, rng.IntN(20000))
		for i := range junk {
			junk[i] = byte(rng.Uint32())
		}
		switch rng.IntN(5) {
		case 0:
			os.Remove(db)
		case 1:
			for _, suffix := range []string{"", "-wal", "-shm"} {
				os.Remove(db + suffix)
			}
		case 2: // in place, under whoever has it open
			os.WriteFile(db, junk, 0o600)
		case 3:
			os.WriteFile(db+"-wal", junk, 0o600)
		case 4:
			if os.WriteFile(db+".junk", junk, 0o600) == nil {
				os.Rename(db+".junk", db)
			}
		}
	}
}

// report prints what was done, so that a reader sees whether the run was worth anything.
func (s *stress) report() {
	total := 0
	for _, verb := range slices.Sorted(maps.Keys(s.codes)) {
		var codes []string
		for _, code := range slices.Sorted(maps.Keys(s.codes[verb])) {
			codes = append(codes, fmt.Sprintf("%d×%d", s.codes[verb][code], code))
			total += s.codes[verb][code]
		}
		s.t.Logf("%-12s times×exit code: %s; slowest %v, after SIGINT %v", verb, strings.Join(codes, " "), s.slowest[verb].Round(time.Millisecond), s.slowInt[verb].Round(time.Millisecond))
	}
	s.t.Logf("%d commands", total)
	if s.codes["checkpoint"][0] == 0 || s.codes["restore"][0] == 0 {
		s.t.Error("no checkpoint or no restore was done in all that time")
	}
}
