package torture

import (
	"os"
	"testing"

	"noid/test/signals"
)

func TestMain(m *testing.M) {
	signals.Heed()
	os.Exit(m.Run())
}
