package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"

	"noid/internal/vm"
)

// output is noid's standard output. It remembers the first error: what a verb prints is its result, and a script must
// not go on without that.
type output struct {
	io.Writer
	err error
}

func (o *output) Write(b []byte) (int, error) {
	n, err := o.Writer.Write(b)
	if o.err == nil {
		o.err = err
	}
	return n, err
}

// fullHint is the cure for a full disk: the home's, or what noid's output goes to. It is "" for another error.
func fullHint(err error) string {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return ""
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok && (e.Path == "/dev/stdout" || e.Path == "/dev/stderr") {
		return "send the output where there is room"
	}
	return vm.FullHint
}

// lost turns an error of o's into one of the run's, if that went well.
func (o *output) lost(err error) error {
	if err != nil || o.err == nil {
		return err
	}
	return fmt.Errorf("done, but the output is lost: %w", o.err)
}
