package vm

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/image"
)

// withImage is c with what its VM's image says where c says nothing.
func (c Command) withImage(i *image.Image) Command {
	if i == nil {
		return c
	}
	c.Env = slices.Concat(i.Config.Env, c.Env) // the last one wins
	c.User, c.Dir = cmp.Or(c.User, i.Config.User), cmp.Or(c.Dir, i.Config.WorkingDir)
	return c
}

// argv is the command that Run runs in a VM of i, or of no image. The user's words replace the image's command, not its
// entrypoint.
func (o RunOptions) argv(i *image.Image) ([]string, error) {
	words, entrypoint := o.words, []string(nil)
	if o.Entrypoint != nil {
		if *o.Entrypoint != "" {
			entrypoint = []string{*o.Entrypoint}
		}
	} else if i != nil {
		entrypoint = i.Config.Entrypoint
		if len(words) == 0 {
			words = i.Config.Cmd
		}
	}
	argv := slices.Concat(entrypoint, words)
	if len(argv) == 0 {
		what := "the vm is of no image"
		if i != nil {
			what = "the image has none"
		}
		return nil, errs.New(errs.ErrUsage, "run: no command given, and %s", what).Hint("write the command after the vm or the image")
	}
	return argv, nil
}

// stopSignal is the signal that asks the main command of a VM of i to end, by number.
func stopSignal(i *image.Image) int {
	const rtmin, last = 34, 64
	if i == nil {
		return int(unix.SIGTERM)
	}
	name := strings.TrimPrefix(strings.ToUpper(i.Config.StopSignal), "SIG")
	n, err := strconv.Atoi(name)
	if after, ok := strings.CutPrefix(name, "RTMIN+"); ok {
		if n, err = strconv.Atoi(after); err == nil {
			n += rtmin
		}
	} else if known := unix.SignalNum("SIG" + name); known != 0 {
		n, err = int(known), nil
	}
	if err != nil || n < 1 || n > last {
		return int(unix.SIGTERM)
	}
	return n
}
