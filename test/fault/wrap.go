package fault

import (
	"reflect"

	"golang.org/x/sys/unix"
)

var errorType = reflect.TypeFor[error]()

// Wrap returns f, which must be a function, with a step at it: what is ordered for site happens when the result is
// called. It may be called from any number of goroutines.
func Wrap[F any](site string, f F) F {
	return wrap(site, f, func([]reflect.Value) bool { return true })
}

// WrapOpen is Wrap for what opens a file with the flags in argument at: it is a step if they may make or empty the
// file.
func WrapOpen[F any](site string, at int, f F) F {
	const makes = unix.O_CREAT | unix.O_TRUNC | unix.O_TMPFILE&^unix.O_DIRECTORY
	return wrap(site, f, func(args []reflect.Value) bool { return args[at].Int()&makes != 0 })
}

// wrap makes each call of f for whose arguments isStep holds a step.
func wrap[F any](site string, f F, isStep func([]reflect.Value) bool) F {
	if idle {
		return f
	}
	value := reflect.ValueOf(f)
	kind := value.Type()
	call := value.Call
	if kind.IsVariadic() {
		call = value.CallSlice
	}
	results := kind.NumOut()
	fails := results > 0 && kind.Out(results-1) == errorType
	return reflect.MakeFunc(kind, func(args []reflect.Value) []reflect.Value {
		if !isStep(args) {
			return call(args)
		}
		o := reach(site, fails)
		switch {
		case o == nil:
			return call(args)
		case o.errno != 0:
			out := make([]reflect.Value, results)
			for i := range out {
				out[i] = reflect.Zero(kind.Out(i))
			}
			err := o.failure()
			out[results-1] = reflect.ValueOf(&err).Elem() // of the interface's type, not of its content's
			return out
		}
		o.before()
		out := call(args)
		o.after()
		return out
	}).Interface().(F)
}
