package vm

import (
	"errors"
	"strings"
	"testing"

	"noid/internal/errs"
	"noid/internal/vmm"
)

func TestOtherVersion(t *testing.T) {
	said := errors.New("loading the snapshot: invalid version")
	for _, tt := range []struct {
		name, saved, here string
		explained         bool
	}{
		{"the same", "1.16.1", "1.16.1", false},
		{"an older binary", "1.16.1", "1.10.0", true},
		{"a newer binary", "1.10.0", "1.16.1", true},
		{"a binary that does not tell", "1.16.1", "", false},
		{"not recorded", "", "1.16.1", false},
	} {
		err := otherVersion(vmm.Machine{Driver: "fake", DriverVersion: tt.saved}, tt.here, said)
		if !errors.Is(err, said) || errors.Is(err, errs.ErrHost) != tt.explained || strings.Contains(errs.Hint(err), "fake "+tt.saved) != tt.explained {
			t.Errorf("%s: %v, hint %q", tt.name, err, errs.Hint(err))
		}
	}
}
