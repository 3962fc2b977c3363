// Package signals gives the tests the signals that they send.
package signals

import (
	"os"
	"os/signal"
	"syscall"
)

// Heed undoes nohup, which ignores SIGHUP, and a script's &, which ignores SIGINT. A command that a test starts would
// inherit that, and be deaf to what the test sends. (A Go program heeds SIGQUIT always.) A test's TestMain calls it
// first.
func Heed() {
	for _, s := range []os.Signal{syscall.SIGHUP, syscall.SIGINT} {
		if signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s) // a signal that is caught is the default's again in a new program
		}
	}
}
