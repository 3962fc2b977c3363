package kvm

import (
	"os"
	"testing"
)

func TestProbe(t *testing.T) {
	dev, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	r, probeErr := Probe()
	if err != nil {
		if probeErr == nil {
			t.Errorf("/dev/kvm cannot be opened (%v), and Probe says %v", err, r)
		}
		return
	}
	dev.Close()
	if probeErr != nil {
		t.Fatalf("/dev/kvm opens, and Probe fails: %v", probeErr)
	}
	if r.Rate <= 0 || r.Took <= 0 {
		t.Errorf("%+v", r)
	}
	t.Logf("%.1f million instructions a second, real: %v, probed in %v", r.Rate/1e6, r.Real(), r.Took)
}

func TestReal(t *testing.T) {
	for rate, want := range map[float64]bool{0: false, 1.3e6: false, 1e8: true, 2e9: true} {
		if got := (Result{Rate: rate}).Real(); got != want {
			t.Errorf("%g: %v", rate, got)
		}
	}
}
