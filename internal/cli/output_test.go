package cli

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"

	"noid/internal/errs"
)

// TestOutputLost has a verb print to a full disk: that is an error of the run, with a cure that is not the home's.
func TestOutputLost(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	out := &output{Writer: full}
	if err := out.lost(nil); err != nil {
		t.Errorf("nothing was printed: %v", err)
	}
	fmt.Fprintln(out, "1a2b3c4d")
	if err := out.lost(nil); !errors.Is(err, syscall.ENOSPC) || exitCode(err) != exitHost {
		t.Errorf("the output is lost: %v", err)
	}
	if err := out.lost(errs.ErrState); err != errs.ErrState {
		t.Errorf("the verb failed: %v", err)
	}
	if fullHint(&os.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.ENOSPC}) == fullHint(syscall.ENOSPC) {
		t.Error("a full standard output gets the cure of a full home")
	}
}
