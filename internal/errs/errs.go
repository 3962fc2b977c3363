// Package errs holds the kinds of failure that noid tells apart. Every layer wraps one of the sentinels with %w; package cli
// alone turns a kind into an exit code, and prints the hint on a line of its own.
package errs

import "errors"

var (
	// ErrUsage is wrong input on the command line: exit 2.
	ErrUsage = errors.New("wrong usage")
	// ErrNotFound is a VM, checkpoint or file that is not there: exit 3.
	ErrNotFound = errors.New("not found")
	// ErrExists is a name that is taken: exit 4.
	ErrExists = errors.New("already exists")
	// ErrBusy is a VM that another noid works on: exit 4.
	ErrBusy = errors.New("busy")
	// ErrState is a VM in a state that does not allow the operation: exit 5.
	ErrState = errors.New("not in the state this needs")
	// ErrTimeout is a wait that ran out: exit 6.
	ErrTimeout = errors.New("timed out")
	// ErrHost is something that this host cannot do or lacks (VMM, KVM, kernel, space): exit 7.
	ErrHost = errors.New("this host cannot")
)

// hinted is an error with the cure beside it.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }

// WithHint attaches a cure to err: one line, in the imperative, without a full stop. A nil err stays nil.
func WithHint(err error, hint string) error {
	if err == nil {
		return nil
	}
	return hinted{err, hint}
}

// Hint returns the outermost hint attached to err, or "".
func Hint(err error) string {
	if h, ok := errors.AsType[hinted](err); ok {
		return h.hint
	}
	return ""
}
