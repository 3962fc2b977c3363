package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"noid/internal/vmm/conformance/tinyguest"
)

// result is how one noid ended.
type result struct {
	args     []string
	out, err string
	code     int
	hurt     syscall.Signal // what it was sent, or 0; it may have ended before
}

// call runs noid and judges what holds of every command. With hurt, it may be interrupted or killed on its way.
func (s *stress) call(rng *rand.Rand, hurt bool, args ...string) result {
	r := result{args: args}
	var out, errb bytes.Buffer
	cmd := s.cmd(context.Background(), args...)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &errb, 10*time.Second
	began := time.Now()
	if err := cmd.Start(); err != nil {
		s.problem(r, "%v", err)
		return r
	}
	if hurt {
		switch rng.IntN(12) {
		case 0:
			r.hurt = syscall.SIGINT
		case 1:
			r.hurt = syscall.SIGKILL
		}
	}
	var hit time.Time
	done := make(chan struct{})
	if r.hurt != 0 {
		after := time.Duration(1.2 * rng.Float64() * float64(s.usual(args[0]))) // anywhere in it, or too late
		inPause := args[0] == "checkpoint" && rng.IntN(2) == 0
		go func() {
			if inPause {
				s.awaitSnapshot(args[1], done)
			} else {
				select {
				case <-done:
				case <-time.After(after):
				}
			}
			s.mu.Lock()
			hit = time.Now()
			s.mu.Unlock()
			cmd.Process.Signal(r.hurt)
		}()
	}
	hung := time.AfterFunc(stressBound, func() { cmd.Process.Signal(syscall.SIGQUIT) }) // Go prints where each goroutine is
	err := cmd.Wait()
	ended := time.Now()
	close(done)
	inTime := hung.Stop()
	r.out, r.err, r.code = out.String(), errb.String(), cmd.ProcessState.ExitCode()
	s.mu.Lock()
	verb := args[0]
	if s.codes[verb] == nil {
		s.codes[verb] = map[int]int{}
	}
	s.codes[verb][r.code]++
	s.spent[verb] += ended.Sub(began)
	s.slowest[verb] = max(s.slowest[verb], ended.Sub(began))
	if r.hurt == syscall.SIGINT && !hit.IsZero() && hit.Before(ended) {
		s.slowInt[verb] = max(s.slowInt[verb], ended.Sub(hit))
	}
	s.mu.Unlock()
	switch {
	case !inTime:
		s.problem(r, "it takes longer than %v", stressBound)
	case errors.Is(err, exec.ErrWaitDelay):
		s.problem(r, "a process that it started holds its output")
	case r.code == -1 && r.hurt == 0: // SIGINT kills it, too, before it listens for that
		s.problem(r, "it ends by a signal: %v", cmd.ProcessState)
	case r.code == 130 && r.hurt != syscall.SIGINT:
		s.problem(r, "it says that it was interrupted")
	}
	for _, word := range []string{"panic:", "goroutine ", "sqlite", "damaged", "malformed"} {
		if strings.Contains(strings.ToLower(r.out+r.err), word) {
			s.problem(r, "it speaks of %q", word)
		}
	}
	return r
}

// awaitSnapshot returns when the snapshot of a checkpoint of name begins to be written, while the guest stands still.
func (s *stress) awaitSnapshot(name string, done <-chan struct{}) {
	staged := filepath.Join("storage/staging", ".new-"+name+"-*", "*.snap")
	own := filepath.Join("storage/vms", name, "new", "*.snap") // where Firecracker writes it
	for len(globs(s.home, staged))+len(globs(s.home, own)) == 0 {
		select {
		case <-done:
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// usual is how long a verb took on average so far, those included that were cut short.
func (s *stress) usual(verb string) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, times := range s.codes[verb] {
		n += times
	}
	if n == 0 {
		return 300 * time.Millisecond
	}
	return s.spent[verb] / time.Duration(n)
}

// over reports whether the command ran to its end.
func (r result) over() bool { return r.code != -1 && r.code != 130 }

// among insists on one of codes, unless the command was cut short.
func (s *stress) among(r result, codes ...int) bool {
	if r.over() && !slices.Contains(codes, r.code) {
		s.problem(r, "not one of the codes %v", codes)
		return false
	}
	return true
}

// problem notes what is wrong; the test goes on, so that one run tells more than one thing.
func (s *stress) problem(r result, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.problems) < maxProblems {
		s.problems = append(s.problems, fmt.Sprintf(format, args...))
		cut := func(text string) string { return text[:min(len(text), 4000)] }
		s.t.Errorf("%s noid %q, exit %d, sent signal %d: %s\nstdout: %s\nstderr: %s", time.Now().Format("15:04:05.000"), r.args, r.code, int(r.hurt),
			fmt.Sprintf(format, args...), cut(r.out), cut(r.err))
	}
}

func (s *stress) vmDir(name string) string { return filepath.Join(s.home, "storage/vms", name) }

// token asks the guest of name for its token, again and again: what comes while it boots under QEMU is lost.
func (s *stress) token(name string) (string, error) {
	var got string
	var err error
	for tries, began := 1, time.Now(); time.Since(began) < askBound; tries++ {
		if got, err = tinyguest.Ask(s.vmDir(name), "g", 5*time.Second); err != nil {
			time.Sleep(100 * time.Millisecond)
			continue
		}
		if tries > 1 { // the answers to earlier tries come before this one's
			_, err = tinyguest.Ask(s.vmDir(name), "c", askBound)
		}
		return strings.TrimPrefix(got, "token "), err
	}
	return "", err
}

// checkpointEntry is one in 'checkpoints --json'.
type checkpointEntry struct {
	ID, Label, Error string
	Memory           bool
}

// checkpoints lists those of name, the oldest first. ok is false when there is neither a VM nor a checkpoint, or it was
// cut short.
func (s *stress) checkpoints(rng *rand.Rand, hurt bool, name string) (list []checkpointEntry, ok bool) {
	r := s.call(rng, hurt, "checkpoints", name, "--json")
	if !s.among(r, 0, 3) || r.code != 0 {
		return nil, false
	}
	if err := json.Unmarshal([]byte(r.out), &list); err != nil {
		s.problem(r, "%v", err)
		return nil, false
	}
	seen := map[string]bool{}
	for _, c := range list {
		if seen[c.ID] || c.Error != "" {
			s.problem(r, "checkpoint %s is there twice or broken: %s", c.ID, c.Error)
		}
		seen[c.ID] = true
	}
	return list, true
}

// machine is a VM in 'list --json'.
type machine struct {
	Name, State, Error string
	PID                int
}

func (s *stress) list(rng *rand.Rand, hurt bool) (list []machine, ok bool) {
	r := s.call(rng, hurt, "list", "--json")
	if !s.among(r, 0) || r.code != 0 {
		return nil, false
	}
	if err := json.Unmarshal([]byte(r.out), &list); err != nil {
		s.problem(r, "%v", err)
		return nil, false
	}
	seen := map[string]bool{}
	for _, v := range list {
		if seen[v.Name] || v.State == "broken" {
			s.problem(r, "vm %s is there twice or broken: %s", v.Name, v.Error)
		}
		seen[v.Name] = true
	}
	return list, true
}
