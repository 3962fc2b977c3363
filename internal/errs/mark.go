package errs

// marked is an error of a kind whose text does not repeat the kind's own.
type marked struct {
	error
	kind error
}

func (m marked) Unwrap() []error { return []error{m.error, m.kind} }

// Mark makes err be kind (one of the sentinels) for errors.Is without adding to its text, so that a message can be
// `no vm "dev"` and not `no vm "dev": not found`. A nil err stays nil.
func Mark(err, kind error) error {
	if err == nil {
		return nil
	}
	return marked{err, kind}
}
