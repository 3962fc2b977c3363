package cli

import (
	"errors"
	"os"
	"testing"

	"noid/internal/errs"
	"noid/internal/vm"
)

func TestParsePlace(t *testing.T) {
	for _, tt := range []struct {
		arg  string
		want vm.Place
	}{
		{"-", vm.Place{Path: "-"}},
		{"file", vm.Place{Path: "file"}},
		{"dev:/etc/hosts", vm.Place{VM: "dev", Path: "/etc/hosts"}},
		{"dev:notes", vm.Place{VM: "dev", Path: "notes"}},
		{"dev:", vm.Place{VM: "dev", Path: "."}},
		{"dev:a:b", vm.Place{VM: "dev", Path: "a:b"}},
		{"./dev:x", vm.Place{Path: "./dev:x"}},
		{"/tmp/dev:x", vm.Place{Path: "/tmp/dev:x"}},
		{":x", vm.Place{Path: ":x"}},
		{"-r:x", vm.Place{Path: "-r:x"}},
	} {
		if got, err := parsePlace(tt.arg); got != tt.want || err != nil {
			t.Errorf("%q: %+v %v", tt.arg, got, err)
		}
	}
	if _, err := parsePlace(""); !errors.Is(err, errs.ErrUsage) {
		t.Error(err)
	}
}

// TestStreams has "-" be standard input or output, and the rest stay what it is.
func TestStreams(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	src, dst := vm.Place{Path: "-"}, vm.Place{VM: "dev", Path: "-"}
	if err := streams(&src, &dst, null, null); err != nil || src.In == nil || dst.Out != nil || src.String() != "-" || dst.String() != "dev:-" {
		t.Errorf("%v to %v, %v", src, dst, err)
	}
	src, dst = vm.Place{Path: "a"}, vm.Place{Path: "-"}
	if err := streams(&src, &dst, null, null); err != nil || src.In != nil || dst.Out == nil {
		t.Errorf("%v to %v, %v", src, dst, err)
	}
}
