package fault

import "reflect"

var errorType = reflect.TypeFor[error]()

// Wrap returns f, which must be a function, with a step at it: what is ordered for site happens when the result is called.
// It may be called from any number of goroutines.
func Wrap[F any](site string, f F) F {
	if idle {
		return f
	}
	call := reflect.ValueOf(f)
	kind := call.Type()
	results := kind.NumOut()
	fails := results > 0 && kind.Out(results-1) == errorType
	return reflect.MakeFunc(kind, func(args []reflect.Value) []reflect.Value {
		o := reach(site, fails)
		if o != nil && o.errno != 0 {
			out := make([]reflect.Value, results)
			for i := range out {
				out[i] = reflect.Zero(kind.Out(i))
			}
			err := o.failure()
			out[results-1] = reflect.ValueOf(&err).Elem() // of the interface's type, not of its content's
			return out
		}
		if o != nil {
			o.before()
		}
		var out []reflect.Value
		if kind.IsVariadic() {
			out = call.CallSlice(args)
		} else {
			out = call.Call(args)
		}
		if o != nil {
			o.after()
		}
		return out
	}).Interface().(F)
}
