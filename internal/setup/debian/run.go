package debian

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	stopGrace = 3 * time.Second // for a tool to end after SIGTERM
	maxOutput = 1 << 20         // bytes of a tool's output that are kept
)

// run runs argv in dir and returns its standard output. A failure's error holds the end of its standard error. A tool
// that ctx interrupts gets SIGTERM, with its children, and stopGrace to clean up.
func run(ctx context.Context, dir string, argv ...string) (string, error) {
	return runInput(ctx, dir, "", argv...)
}

func runInput(ctx context.Context, dir, input string, argv ...string) (string, error) {
	var stdout, stderr bounded
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, strings.NewReader(input), &stdout, &stderr
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	// A process group of its own: Ctrl+C reaches noid alone, which stops the tool in its own way.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGTERM) }
	cmd.WaitDelay = stopGrace
	err := cmd.Run()
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err != nil {
		text := strings.TrimSpace(stderr.kept.String())
		if text == "" {
			text = strings.TrimSpace(stdout.kept.String())
		}
		lines := strings.Split(text, "\n")
		return "", fmt.Errorf("%s: %w: %s", filepath.Base(argv[0]), err, strings.Join(lines[max(0, len(lines)-3):], "; "))
	}
	return stdout.kept.String(), nil
}

// bounded keeps the first maxOutput bytes. The buffer is not embedded: its ReadFrom would get round the bound.
type bounded struct{ kept bytes.Buffer }

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	b.kept.Write(p[:min(len(p), maxOutput-b.kept.Len())])
	return len(p), nil
}
