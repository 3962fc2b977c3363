package cli

import (
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain undoes nohup, as the agent does: the commands would inherit it, and be deaf to what the tests send. In scripts, this
// test's binary is the commands.
func TestMain(m *testing.M) {
	if signal.Ignored(syscall.SIGHUP) {
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	testscript.Main(m, map[string]func(){"noid": scriptNoid, scriptVMM: scriptAgent})
}
