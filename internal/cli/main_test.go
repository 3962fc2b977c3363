package cli

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"noid/test/signals"
)

// TestMain is also the commands of the scripts.
func TestMain(m *testing.M) {
	signals.Heed()
	testscript.Main(m, map[string]func(){"noid": scriptNoid, scriptVMM: scriptAgent})
}
