package errs

import (
	"errors"
	"slices"
	"testing"
)

// TestJoin joins problems in their order, and leaves a lone one as it is.
func TestJoin(t *testing.T) {
	one, two := New(ErrState, "one").Hint("cure"), New(ErrNotFound, "two")
	if err := Join(nil, nil); err != nil {
		t.Errorf("of nothing: %v", err)
	}
	if err := Join(nil, one); err != one || len(List(err)) != 1 {
		t.Errorf("of one: %v", err)
	}
	err := Join(two, nil, one)
	if got := List(err); !slices.Equal(got, []error{two, one}) {
		t.Errorf("of two: %v", got)
	}
	if !errors.Is(err, ErrNotFound) || !errors.Is(err, ErrState) || Hint(err) != "cure" || err.Error() != "two\none" {
		t.Errorf("of two: %v, hint %q", err, Hint(err))
	}
}
