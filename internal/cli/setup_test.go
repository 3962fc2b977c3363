package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creack/pty"
)

// TestSetupAsks: on a terminal setup says what it will do, and does it after a yes alone.
func TestSetupAsks(t *testing.T) {
	config := scriptConfig(t)
	files := map[string]string{}
	for line := range strings.Lines(string(config)) {
		if key, value, ok := strings.Cut(line, " = "); ok {
			files[key] = strings.Trim(value, "'\"\n")
		}
	}
	for _, tt := range []struct {
		typed string
		args  []string
		set   bool
	}{{"n\n", nil, false}, {"\x04", nil, false}, {"what\n", nil, false}, {"\n", nil, true}, {"YES\n", nil, true}, {"", []string{"--yes"}, true}} {
		home := filepath.Join(t.TempDir(), "home")
		cmd := exec.Command("noid", append([]string{"setup", "--kernel", files["kernel"], "--rootfs", files["rootfs"]}, tt.args...)...)
		cmd.Env = append(os.Environ(), "NOID_HOME="+home)
		tty, err := pty.Start(cmd)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tty.WriteString(tt.typed); err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		buf := make([]byte, 4096)
		for { // until the terminal's other end is closed, which is EIO
			n, err := tty.Read(buf)
			out.Write(buf[:n])
			if err != nil {
				break
			}
		}
		tty.Close()
		ok := cmd.Wait() == nil
		_, err = os.Stat(filepath.Join(home, "config.toml"))
		if ok != tt.set || (err == nil) != tt.set {
			t.Errorf("%q: done %t, exit 0 %t, want %t: %s", tt.typed, err == nil, ok, tt.set, out.String())
		}
		if !strings.Contains(out.String(), "noid setup will:\r\n  use the kernel "+files["kernel"]+" (you named it)") ||
			strings.Contains(out.String(), "Go on?") != (tt.args == nil) {
			t.Errorf("%q: it says %q", tt.typed, out.String())
		}
	}
}
