package e2e

import (
	"context"
	"net"
	"os/exec"
	"path/filepath"
	"testing"

	"noid/internal/agentclient"
	"noid/internal/wire"
)

// BenchmarkExecTrue is 'noid exec a true': beside BenchmarkAgentExec (the same by the client alone, without a process),
// BenchmarkAgentPing (a connection and one question) and BenchmarkGoProgram it shows where the time goes. QEMU only.
func BenchmarkExecTrue(b *testing.B) {
	n := setupBench(b)
	for b.Loop() {
		cmd := n.cmd(context.Background(), "exec", "a", "true")
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
	}
}

func BenchmarkAgentExec(b *testing.B) {
	c := setupBench(b).agent()
	for b.Loop() {
		if _, err := c.Exec(context.Background(), wire.Exec{Argv: [][]byte{[]byte("true")}}, agentclient.Streams{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAgentPing(b *testing.B) {
	c := setupBench(b).agent()
	for b.Loop() {
		if err := c.Ping(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkExecConsole is BenchmarkExecTrue over the serial console.
func BenchmarkExecConsole(b *testing.B) {
	n := setupBench(b)
	for b.Loop() {
		cmd := n.cmd(context.Background(), "exec", "--serial", "a", "true")
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
	}
}

func setupBench(b *testing.B) noid {
	n := setup(b)
	cmd := exec.Command(n.bin, "create", "a", "--wait", "--driver", "qemu")
	cmd.Env = n.cmd(context.Background()).Env
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	return n
}

// agent talks to the guest of VM a without a noid process.
func (n noid) agent() *agentclient.Client {
	socket := filepath.Join(n.home, "storage/vms/a/agent.sock")
	return &agentclient.Client{
		Dial:  func(ctx context.Context) (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, "unix", socket) },
		Alive: func() bool { return true },
	}
}
