package link

import (
	"os"
	"os/signal"
	"syscall"
	"testing"
)

// TestMain undoes nohup, as the agent does: the commands would inherit it, and be deaf to what the tests send.
func TestMain(m *testing.M) {
	if signal.Ignored(syscall.SIGHUP) {
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	os.Exit(m.Run())
}
