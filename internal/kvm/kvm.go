// Package kvm finds out whether /dev/kvm is worth using. Behind it may be a slow software emulation: Probe runs a few
// guest instructions and times them.
package kvm

import (
	"fmt"
	"time"
)

// MinRate is the guest speed, in instructions a second, from which KVM counts as real. Hardware runs more than 1e9, KVM
// inside an emulated machine some 1e8, software emulation behind /dev/kvm about 1e6.
const MinRate = 1e7

// Result is what Probe saw.
type Result struct {
	Rate float64       // guest instructions a second
	Took time.Duration // what the whole probe cost
}

// Real reports whether guests run at a speed that only virtualization reaches.
func (r Result) Real() bool { return r.Rate >= MinRate }

// Check is Probe, with an error also where KVM is not real.
func Check() (Result, error) {
	r, err := Probe()
	if err == nil && !r.Real() {
		err = fmt.Errorf("/dev/kvm opens, but its guests run only %.1f million instructions a second: it is emulated", r.Rate/1e6)
	}
	return r, err
}
