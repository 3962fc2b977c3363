package signals

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestHeed is this test's binary under nohup and &, and looks at what a command inherits from it.
func TestHeed(t *testing.T) {
	if os.Getenv("NOID_TEST_HEED") != "" {
		Heed()
		out, err := exec.Command("sh", "-c", `for s in HUP INT QUIT; do (kill -s $s $(exec sh -c 'echo $PPID'); echo deaf to $s); done; echo end`).Output()
		if string(out) != "end\n" {
			t.Errorf("a command under nohup and & says %q, %v", out, err)
		}
		return
	}
	cmd := exec.Command("sh", "-c", `trap "" HUP INT QUIT; "$@"`, "sh", os.Args[0], "-test.v", "-test.run", "^TestHeed$")
	cmd.Env = append(os.Environ(), "NOID_TEST_HEED=1")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestHeed") {
		t.Errorf("%v: %s", err, out)
	}
}
