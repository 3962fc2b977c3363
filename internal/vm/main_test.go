package vm

import (
	"context"
	"os"
	"testing"

	"noid/internal/helper"
	"noid/internal/vmm/drivers"
)

// asHelper has this test's binary be the helper of a VM, as a noid would be.
const asHelper = "test-helper"

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == asHelper {
		d, err := drivers.New(drivers.Config{}, nil).Driver(os.Args[2])
		if err == nil {
			err = helper.Run(context.Background(), d, os.Args[3:], func(context.Context) error { return nil })
		}
		if err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}
