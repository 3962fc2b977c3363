package helper

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"testing"

	"noid/internal/proc"
	"noid/internal/vmm"
)

// assistant is a driver of which the helper needs no more.
type assistant struct {
	vmm.Driver
	assist func(context.Context, func(context.Context) error) error
}

func (assistant) Logs() []string { return []string{"vmm.log"} }

func (a assistant) Assist(ctx context.Context, resume func(context.Context) error) error {
	return a.assist(ctx, resume)
}

// TestRun follows a helper from its lock to the end of its VMM.
func TestRun(t *testing.T) {
	t.Chdir(t.TempDir())
	vmmProcess := exec.Command("sleep", "1000")
	if err := vmmProcess.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := proc.Identify(vmmProcess.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	said, resumed := errors.New("said"), errors.New("resumed")
	d := assistant{assist: func(ctx context.Context, resume func(context.Context) error) error {
		if dir, err := os.Getwd(); err != nil || !Present(dir) {
			t.Errorf("at work without a lock in %s, %v", dir, err)
		}
		if err := resume(ctx); err != resumed {
			t.Errorf("resume: %v", err)
		}
		if err := vmmProcess.Process.Kill(); err != nil {
			t.Error(err)
		}
		vmmProcess.Wait()
		<-ctx.Done()
		return said
	}}
	if err := Run(t.Context(), d, p.Args(), func(context.Context) error { return resumed }, nil, nil); err != said {
		t.Errorf("Run: %v, want %v", err, said)
	}
}
