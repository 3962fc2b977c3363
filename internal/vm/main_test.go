package vm

import (
	"context"
	"net"
	"os"
	"testing"
	"time"

	"noid/internal/agent"
	"noid/internal/helper"
	"noid/internal/network/space"
	"noid/internal/vm/vmtest"
	"noid/internal/vmm/drivers"
)

// asHelper has this test's binary be the helper of a VM, as a noid would be.
const asHelper = "test-helper"

// asAgent has it be a VMM and the agent in its guest, for the fake driver.
const asAgent = "test-agent"

func TestMain(m *testing.M) {
	space.Main()
	if len(os.Args) > 1 && os.Args[1] == asAgent {
		time.AfterFunc(10*time.Minute, func() { os.Exit(1) }) // a test that was killed does not end it
		if l, err := net.Listen("unix", vmtest.JobsSocket); err == nil {
			(&agent.Server{}).Serve(l)
		}
		os.Exit(1)
	}
	if len(os.Args) > 2 && os.Args[1] == asHelper {
		d, err := drivers.New(drivers.Config{}, nil).Driver(os.Args[2])
		if err == nil {
			err = helper.Run(context.Background(), d, os.Args[3:], func(context.Context) error { return nil }, nil, nil)
		}
		if err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}
