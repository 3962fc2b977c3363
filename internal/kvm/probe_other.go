//go:build !amd64

package kvm

import "os"

// Probe only opens /dev/kvm here: the timed loop is written for x86. What opens counts as real.
func Probe() (Result, error) {
	dev, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return Result{}, err
	}
	return Result{Rate: MinRate}, dev.Close()
}
