package agent

import (
	"bytes"
	"crypto/rand"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/agent/login"
	"noid/internal/link/wire"
)

func TestHooks(t *testing.T) {
	s, _ := newServer(t)
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	must(t, os.Mkdir(filepath.Join(dir, "d"), 0o755))
	for name, f := range map[string]struct {
		script string
		mode   os.FileMode
	}{
		"20-second": {"#!/bin/sh\necho \"2 $NOID_EVENT $NOID_NAME $NOID_SOURCE\" >>" + log, 0o755},
		"10-first":  {"#!/bin/sh\necho 1 >>" + log + "; sleep 5 &", 0o755}, // a daemon does not hold it up
		"30-fails":  {"#!/bin/sh\necho out of order >&2; exit 3", 0o755},
		"40-no":     {"#!/bin/sh\necho never >>" + log, 0o644},
		"50-broken": {"no script", 0o755},
		"60-last":   {"#!/bin/sh\necho 6 >>" + log, 0o755},
	} {
		must(t, os.WriteFile(filepath.Join(dir, "d", name), []byte(f.script), f.mode))
	}
	got := s.runHooks(filepath.Join(dir, "d"), wire.Restored{Event: "clone", Name: "vm b", Source: "a@1"})
	if want := "30-fails: exit code 3: out of order\n50-broken: exec format error\n"; got != want {
		t.Errorf("failed: %q, want %q", got, want)
	}
	if data, _ := os.ReadFile(log); string(data) != "1\n2 clone vm b a@1\n6\n" {
		t.Errorf("log: %q", data)
	}
	if got := s.runHooks("/no/such", wire.Restored{}); got != "" {
		t.Errorf("without the directory: %q", got)
	}
}

func TestIsOff(t *testing.T) {
	now := time.Now() // with a monotonic part, as in use
	for _, c := range []struct {
		what string
		ns   int64
		want bool
	}{
		{"none", 0, false},
		{"before 1970", -now.UnixNano(), false},
		{"right", now.UnixNano(), false},
		{"the message took a while", now.Add(-clockSlack).UnixNano(), false},
		{"a bit ahead", now.Add(clockSlack).UnixNano(), false},
		{"behind", now.Add(clockSlack + time.Millisecond).UnixNano(), true},
		{"ahead", now.Add(-clockSlack - time.Millisecond).UnixNano(), true},
		{"the guest's clock was never set", now.AddDate(50, 0, 0).UnixNano(), true},
		{"the last that there is", math.MaxInt64, true},
		{"the first that there is", 1, true},
	} {
		if got := isOff(now, c.ns); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
	// 400 years are more than a Duration holds.
	if !isOff(now.AddDate(-400, 0, 0), math.MaxInt64) {
		t.Error("400 years late is left alone")
	}
}

// A clock that is far off was set on purpose, by whoever uses the guest.
func TestAway(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		off, want time.Duration
	}{
		{0, 0}, {time.Second, 0}, {-onPurpose, 0}, {2 * onPurpose, 2 * onPurpose}, {-24 * time.Hour, -24 * time.Hour},
	} {
		if got := away(now.Add(c.off), now.UnixNano()); got != c.want {
			t.Errorf("%v off: %v", c.off, got)
		}
	}
	if got := away(now, 0); got != 0 {
		t.Errorf("a host that says no time: %v", got)
	}
}

func TestReseed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: the random pool needs root")
	}
	seed := make([]byte, 64)
	rand.Read(seed)
	if err := reseed(seed); err != nil {
		t.Error(err)
	}
	// Without the guest's /dev, on a node of the agent's own.
	fd, err := openDevice("no-such-name", 1, 9, unix.O_RDWR)
	if err != nil {
		t.Skipf("NOT RUN: device nodes on a private mount: %v", err)
	}
	defer unix.Close(fd)
	b := make([]byte, 32)
	if n, err := unix.Read(fd, b); n != len(b) || err != nil || bytes.Equal(b, make([]byte, 32)) {
		t.Errorf("the private random device: %d %v", n, err)
	}
}

func TestPrivateTerminal(t *testing.T) {
	pts := &login.Private{FSType: "devpts"}
	fd, err := pts.Open("ptmx", unix.O_RDWR|unix.O_NOCTTY)
	if err != nil {
		t.Skipf("NOT RUN: mounting a devpts of one's own: %v", err)
	}
	unix.Close(fd)
	if got := strings.Join(listSys("class"), " "); !strings.Contains(got, "tty") {
		t.Errorf("/sys/class: %q", got)
	}
	fd, err = privateSys.Open("class/tty", unix.O_RDONLY)
	if err != nil {
		t.Fatalf("a sysfs of one's own: %v", err)
	}
	unix.Close(fd)
}
