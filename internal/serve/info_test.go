package serve

import "testing"

// TestInstance has each server name itself, the same at each request.
func TestInstance(t *testing.T) {
	instance := func(w *world) string {
		var v Version
		w.do(200, "GET", "/v1/version", nil, &v)
		return v.Instance
	}
	a, b := newWorld(t, ""), newWorld(t, "")
	if i := instance(a); i == "" || i != instance(a) || i == instance(b) {
		t.Errorf("instances %q, %q and %q", i, instance(a), instance(b))
	}
}
