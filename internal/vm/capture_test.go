package vm

import (
	"testing"
	"time"
)

// TestGains: what is quick, or no quicker than before, is not repeated.
func TestGains(t *testing.T) {
	for _, c := range []struct {
		took, before time.Duration
		want         bool
	}{
		{calm / 2, 0, false},
		{10 * calm, 0, true},
		{4 * calm, 10 * calm, true},
		{9 * calm, 10 * calm, false},
		{calm / 2, 10 * calm, false},
	} {
		if got := gains(c.took, c.before); got != c.want {
			t.Errorf("after %s and %s before: %v", c.took, c.before, got)
		}
	}
}
