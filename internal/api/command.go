package api

import (
	"io"
	"strings"
	"time"

	"noid/internal/errs"
	"noid/internal/vm"
)

// BootWait bounds the wait for a new VM to run commands, and for one that boots: an emulated guest on a busy host takes a
// minute.
const BootWait = 3 * time.Minute

// maxTimeoutS bounds timeout_s: a year, in seconds.
const maxTimeoutS = 31536000

// seconds is s as a duration: what is more than 0 is no 0, which would be no bound.
func seconds(s float64) time.Duration {
	if d := time.Duration(s * float64(time.Second)); d > 0 || s <= 0 {
		return d
	}
	return 1
}

// CommandSpec is a command as a program asks for it.
type CommandSpec struct {
	Command  string            `json:"command,omitempty" jsonschema:"a line for sh -c"`
	Argv     []string          `json:"argv,omitempty" jsonschema:"instead of command: a program and its arguments, without a shell"`
	Dir      string            `json:"dir,omitempty" jsonschema:"directory to run in"`
	Env      map[string]string `json:"env,omitempty" jsonschema:"variables of its environment"`
	User     string            `json:"user,omitempty" jsonschema:"USER[:GROUP] to run as"`
	Input    string            `json:"input,omitempty" jsonschema:"its standard input"`
	TimeoutS float64           `json:"timeout_s,omitempty" min:"0" max:"31536000" jsonschema:"end it after so many seconds, such as 0.5; 0 for never"`
}

// Parse is c as package vm runs it, and its input. What it refuses is errs.ErrUsage.
func (c CommandSpec) Parse() (vm.Command, io.Reader, error) {
	argv := c.Argv
	switch {
	case c.TimeoutS < 0 || c.TimeoutS > maxTimeoutS:
		return vm.Command{}, nil, errs.New(errs.ErrUsage, "timeout_s: %g is not between 0 and %d", c.TimeoutS, maxTimeoutS)
	case c.Command != "" && len(argv) > 0:
		return vm.Command{}, nil, errs.New(errs.ErrUsage, "command and argv are one too many").Hint("give one of them")
	case c.Command != "":
		argv = []string{"sh", "-c", c.Command}
	}
	o := vm.Command{Argv: argv, Dir: c.Dir, User: c.User, Timeout: seconds(c.TimeoutS), Wait: BootWait, Stdin: c.Input != ""}
	for key, value := range c.Env {
		if key == "" || strings.ContainsAny(key, "=\x00") || strings.Contains(value, "\x00") {
			return o, nil, errs.New(errs.ErrUsage, "env: %.60q is no name of a variable, or its value has a zero byte", key)
		}
		o.Env = append(o.Env, key+"="+value)
	}
	if o.Stdin {
		return o, strings.NewReader(c.Input), nil
	}
	return o, nil, nil
}
