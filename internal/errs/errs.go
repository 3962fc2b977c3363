// Package errs holds the kinds of failure that noid tells apart. Every layer wraps one of the sentinels with %w;
// package cli alone turns a kind into an exit code, and prints the hint on a line of its own.
package errs

import (
	"errors"
	"fmt"
	"slices"
)

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

// Error is an error of a kind, with the cure beside it. Its text is neither the kind's nor the cure's: a message can be
// `no vm "dev"` and not `no vm "dev": not found`.
type Error struct {
	kind, err error
	hint      string
}

// New returns an error of kind, one of the sentinels, whose text is made as fmt.Errorf makes it.
func New(kind error, format string, args ...any) *Error {
	return &Error{kind: kind, err: fmt.Errorf(format, args...)}
}

// Host returns an error of kind ErrHost: this host cannot do what, a verb and its object, because of cause.
func Host(what string, cause error) *Error {
	return New(ErrHost, "this host cannot %s: %w", what, cause)
}

// Hint attaches a cure: one line, in the imperative, without a full stop.
func (e *Error) Hint(hint string) *Error {
	e.hint = hint
	return e
}

func (e *Error) Error() string { return e.err.Error() }

// Unwrap returns what e wraps, and its kind.
func (e *Error) Unwrap() []error {
	if e.kind == nil {
		return []error{e.err}
	}
	return []error{e.err, e.kind}
}

// Mark makes err be of kind. A nil err stays nil.
func Mark(err, kind error) error {
	if err == nil {
		return nil
	}
	return &Error{kind: kind, err: err}
}

// WithHint attaches a cure to err. A nil err stays nil.
func WithHint(err error, hint string) error {
	if err == nil {
		return nil
	}
	return &Error{err: err, hint: hint}
}

// list is several errors, two or more.
type list []error

func (l list) Error() string   { return errors.Join(l...).Error() }
func (l list) Unwrap() []error { return l }

// Join returns an error of those of problems that are not nil, in their order: nil if all are, and a lone one as it is.
func Join(problems ...error) error {
	problems = slices.DeleteFunc(slices.Clone(problems), func(err error) bool { return err == nil })
	switch len(problems) {
	case 0:
		return nil
	case 1:
		return problems[0]
	}
	return list(problems)
}

// List returns what Join has joined, and any other error alone.
func List(err error) []error {
	if l, ok := err.(list); ok {
		return l
	}
	return []error{err}
}

// Hint returns the outermost cure attached to err, or "".
func Hint(err error) string {
	if e, ok := err.(*Error); ok && e.hint != "" {
		return e.hint
	}
	switch u := err.(type) {
	case interface{ Unwrap() error }:
		return Hint(u.Unwrap())
	case interface{ Unwrap() []error }:
		for _, inner := range u.Unwrap() {
			if hint := Hint(inner); hint != "" {
				return hint
			}
		}
	}
	return ""
}
