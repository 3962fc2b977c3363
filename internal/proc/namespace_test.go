package proc

import (
	"os"
	"testing"
)

// TestHere: a pid says something only in its own namespace, and before the next boot. An old record names no namespace.
func TestHere(t *testing.T) {
	own, err := Identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	old, foreign, before := own, own, own
	old.PIDNamespace, foreign.PIDNamespace, before.BootID = 0, own.PIDNamespace+1, "another boot"
	for _, c := range []struct {
		p    Process
		want bool
	}{{own, true}, {old, true}, {foreign, false}, {before, false}, {Process{}, false}} {
		if c.p.Here() != c.want || c.p.Alive() != c.want {
			t.Errorf("%+v: here %v, alive %v, want %v", c.p, c.p.Here(), c.p.Alive(), c.want)
		}
	}
	if own.PIDNamespace == 0 {
		t.Error("its namespace is not known")
	}
}
