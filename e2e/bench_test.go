package e2e

import (
	"context"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"noid/internal/agentclient"
	"noid/internal/wire"
)

// BenchmarkExec is 'noid exec a true' in a QEMU guest and, in turns with it so that all meet the same load, its parts: the
// same exec by the client in this process, a question to the agent without any command, the same over the serial console,
// and a Go program that prints a line. It reports the median of each.
func BenchmarkExec(b *testing.B) {
	n := setup(b)
	run := func(args ...string) {
		cmd := exec.Command(n.bin, args...)
		cmd.Env = n.cmd(context.Background(), "exec").Env
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("noid %q: %v: %s", args, err, out)
		}
	}
	run("create", "a", "--wait", "--driver", "qemu")
	socket := filepath.Join(n.home, "storage/vms/a/agent.sock")
	agent := &agentclient.Client{Dial: func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	program := goProgram(b)
	parts := []struct {
		name string
		do   func() error
	}{
		{"ms/noid-exec", func() error { run("exec", "a", "true"); return nil }},
		{"ms/agent-exec", func() error {
			_, err := agent.Exec(context.Background(), wire.Exec{Argv: [][]byte{[]byte("true")}}, agentclient.Streams{})
			return err
		}},
		{"ms/agent-ping", func() error { return agent.Ping(context.Background()) }},
		{"ms/console-exec", func() error { run("exec", "--serial", "a", "true"); return nil }},
		{"ms/Go-program", func() error { return exec.Command(program).Run() }},
	}
	took := make([][]time.Duration, len(parts))
	for b.Loop() {
		for i, p := range parts {
			began := time.Now()
			if err := p.do(); err != nil {
				b.Fatalf("%s: %v", p.name, err)
			}
			took[i] = append(took[i], time.Since(began))
		}
	}
	b.ReportMetric(0, "ns/op") // of all together: of no use
	for i, p := range parts {
		b.ReportMetric(median(took[i]), p.name)
	}
}

// median is in milliseconds.
func median(d []time.Duration) float64 {
	slices.Sort(d)
	return float64(d[len(d)/2].Microseconds()) / 1000
}
