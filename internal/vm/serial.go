package vm

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"noid/internal/console"
	"noid/internal/errs"
)

// execSerial is Exec over the serial console, where a shell does what Command.Env and Command.Dir ask for.
func (s *session) execSerial(ctx context.Context, c Command, streams Streams) (Exit, error) {
	name := s.vm.Name
	if missing := c.notOverSerial(); missing != "" {
		return Exit{}, errs.New(errs.ErrUsage, "exec in vm %q over its serial console cannot have %s", name, missing).
			Hint("'noid console " + name + "' attaches to the console; a VM made without --no-agent has the agent for this")
	}
	s, err := s.surelyRunning(ctx, name, s.verb)
	if err != nil {
		return Exit{}, err
	}
	if err := s.spoilTemplate(ctx); err != nil {
		return Exit{}, err
	}
	err = s.beforeCommand(ctx, c)
	if s.line.Close(); err != nil {
		return Exit{}, s.execError(err)
	}
	if !c.Serial {
		s.notice(fmt.Sprintf("no agent in vm %q: over its serial console, where output and error are one", name))
	}
	code, err := console.Exec(ctx, s.dir, c.overSerial(), console.ExecOptions{Stdout: streams.Out, WaitBoot: c.Wait, Timeout: c.Timeout, Alive: s.alive()})
	if errors.Is(err, errs.ErrState) {
		err = s.explain(err)
	}
	if err != nil {
		return Exit{}, s.errorf("exec in", err)
	}
	return Exit{Code: code, TimedOut: code == console.TimeoutCode && c.Timeout > 0}, nil
}

// notOverSerial names what c asks for that only an agent can do, by the flags of exec.
func (c Command) notOverSerial() string {
	var flags []string
	for _, f := range []struct {
		on   bool
		name string
	}{{c.Stdin, "-i"}, {c.TTY, "-t"}, {c.User != "", "-u"}, {c.Detach, "-d"}} {
		if f.on {
			flags = append(flags, f.name)
		}
	}
	return strings.Join(flags, " ")
}

// inPlace changes to the directory $1, exports the next $2 arguments and becomes the rest.
const inPlace = `if [ -n "$1" ]; then cd -- "$1" || exit 126; fi; n=$2; shift 2; while [ "$n" -gt 0 ]; do export "$1" || exit 126; shift; n=$((n-1)); done; exec "$@"`

// overSerial is the command line for a shell that honours Env and Dir.
func (c Command) overSerial() []string {
	if len(c.Env) == 0 && c.Dir == "" {
		return c.Argv
	}
	out := []string{"sh", "-c", inPlace, "sh", c.Dir, fmt.Sprint(len(c.Env))}
	return append(append(out, c.Env...), c.Argv...)
}
