package helper

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/confine"
	"noid/internal/network"
	"noid/internal/network/control"
	"noid/internal/network/space"
	"noid/internal/proc"
)

func TestMain(m *testing.M) {
	space.Main()
	os.Exit(m.Run())
}

// dies is a network helper that dies at once twice, and then stays. It says in "runs" that it ran, and with which
// arguments and socket.
const dies = `#!/bin/sh
echo "$* $(readlink /proc/self/fd/3)" >>runs
[ $(wc -l <runs) -gt 2 ] || exit 3
echo $$ >new && mv new pid
exec sleep 1000
`

// TestNetwork has a network helper be started with the VM's packet socket, again when it dies, once only, and end with
// the VMM.
func TestNetwork(t *testing.T) {
	t.Chdir(t.TempDir())
	p, end := networked(t)
	program := func() (string, error) { return filepath.Abs("program") }
	if err := errors.Join(os.WriteFile("program", []byte(dies), 0o700), os.WriteFile(network.ControlSocket, nil, 0o600), network.Config{}.Save(".")); err != nil {
		t.Fatal(err)
	}
	first, kill := helps(t, p, program)
	await(t, "the network helper to stay", func() bool { _, err := os.Stat("pid"); return err == nil })
	runs, err := os.ReadFile("runs")
	if lines := strings.Split(strings.TrimSpace(string(runs)), "\n"); err != nil || len(lines) != 3 ||
		!strings.HasPrefix(lines[2], strings.Join(p.Args(), " ")+" socket:") {
		t.Errorf("it ran as\n%s(%v)", runs, err)
	}
	if said, err := os.ReadFile(netErrors); err != nil || strings.Count(string(said), "exit status 3") != 2 {
		t.Errorf("%s has %q, %v", netErrors, said, err)
	}
	kill()
	<-first
	if killed := ended(t); !killed {
		t.Error("the network helper outlives what it was started for")
	}

	os.Remove("pid")
	second, _ := helps(t, p, program)
	await(t, "another", func() bool { _, err := os.Stat("pid"); return err == nil })
	fd, err := openLock(netLock)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != unix.EWOULDBLOCK {
		t.Errorf("it has no lock: %v", err)
	}
	end()
	<-second
	if !ended(t) {
		t.Error("the network helper outlives its VMM")
	}
	if _, err := os.Lstat(network.ControlSocket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its socket is left: %v", err)
	}
}

// TestNetworkServed has a helper start no second network helper.
func TestNetworkServed(t *testing.T) {
	t.Chdir(t.TempDir())
	p, _ := networked(t)
	fd, err := openLock(netLock)
	if err == nil {
		err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
	}
	if err != nil {
		t.Fatal(err)
	}
	socket, err := space.Socket(p)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	program := func() (string, error) { return "/bin/true", nil }
	if err := runNetwork(t.Context(), p, &Network{Program: program}, socket, make(chan bool, 1)); err != errServed {
		t.Errorf("beside another: %v", err)
	}
	unix.Close(fd)
	if err := runNetwork(t.Context(), p, &Network{Program: program}, socket, make(chan bool, 1)); err == nil || err.Error() != "exit status 0" {
		t.Errorf("after it: %v", err)
	}
}

// TestSecretsServed has a helper give secrets to the network helper of another one too.
func TestSecretsServed(t *testing.T) {
	t.Chdir(t.TempDir())
	p, _ := networked(t)
	fd, err := openLock(netLock)
	if err == nil {
		err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	got := gets(t)
	if err := (network.Config{Mode: network.Default, Secrets: []string{"A"}}).Save("."); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan bool)
	go func() {
		keepNetwork(ctx, p, &Network{Program: func() (string, error) { return "/bin/false", nil }, Secrets: fakeSecrets{}})
		close(ended)
	}()
	r := <-got
	for r.Op == control.Broker { // it asks to serve too, before or after
		r = <-got
	}
	if r.Op != control.SetSecrets || len(r.Secrets.Grants) != 1 {
		t.Errorf("it was told %+v", r)
	}
	stop()
	<-ended
}

// TestNetworkNone has a VM without a network get no network helper.
func TestNetworkNone(t *testing.T) {
	self, err := proc.Identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	keepNetwork(t.Context(), self, &Network{Program: func() (string, error) {
		t.Error("a network helper is asked for")
		return "", nil
	}})
}

// networked returns a VMM with a network, which the test ends.
func networked(t *testing.T) (p proc.Process, end func()) {
	t.Helper()
	if err := space.Available(); err != nil {
		t.Skipf("NOT RUN: %v", err)
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sleep", "1000")
	if err := space.Start(cmd, confine.Policy{Dir: dir, Devices: []string{space.Device}}); err != nil {
		t.Fatal(err)
	}
	end = func() {
		cmd.Process.Kill()
		cmd.Wait()
		confine.Leave(cmd.Process.Pid)
	}
	t.Cleanup(end)
	if p, err = proc.Identify(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	return p, end
}

// helps is what Run does for the network. done is closed when it has returned.
func helps(t *testing.T, p proc.Process, program func() (string, error)) (done chan struct{}, kill func()) {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	done = make(chan struct{})
	go func() { p.Wait(ctx); cancel() }()
	go func() { defer close(done); keepNetwork(ctx, p, &Network{Program: program}) }()
	return done, cancel
}

// ended reports whether nobody has the lock of the network helper any more.
func ended(t *testing.T) bool {
	fd, err := openLock(netLock)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) == nil
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for began := time.Now(); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatalf("timed out waiting for %s", what)
		}
	}
}
