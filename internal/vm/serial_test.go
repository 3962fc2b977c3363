package vm

import (
	"errors"
	"os/exec"
	"testing"
)

// TestOverSerial runs what -e and -w become on a console in a real shell.
func TestOverSerial(t *testing.T) {
	c := Command{Dir: t.TempDir(), Env: []string{"A=a b", "B="}}
	c.Argv = []string{"sh", "-c", `echo "$PWD|$A|${B-unset}|$1"`, "sh", "an argument"}
	words := c.overSerial()
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	if want := c.Dir + "|a b||an argument\n"; err != nil || string(out) != want {
		t.Errorf("%q instead of %q, %v", out, want, err)
	}
	words = Command{Argv: []string{"true"}, Dir: "/no/such/directory"}.overSerial()
	if err := exec.Command(words[0], words[1:]...).Run(); exitCode(err) != 126 {
		t.Errorf("a directory that is not there: %v", err)
	}
}

func exitCode(err error) int {
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return e.ExitCode()
	}
	return 0
}
