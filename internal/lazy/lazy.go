// Package lazy puts off what a start of noid need not wait for.
package lazy

import (
	"regexp"
	"sync"
)

// Regexp returns a function that compiles expr when it is first called, and panics if that is none. Compiled when the
// program starts, noid's expressions were a tenth of what 'noid version' takes, mostly for the first touch of memory and of
// package regexp's code.
func Regexp(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}
