package cli

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// TestSecretAsked reads a value from the terminal without echo, and leaves the terminal as it was, also after Ctrl+C.
func TestSecretAsked(t *testing.T) {
	const value = "s3cr3t-value-1234"
	for typed, want := range map[string]int{value + "\n": 0, "\x03": exitInterrupted} {
		dir := t.TempDir()
		master, slave, err := pty.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer master.Close()
		defer slave.Close()
		cmd := exec.Command("noid", "secret", "set", "TOKEN", "--host", "api.example.com", "--store", "file")
		cmd.Env = append(os.Environ(), "NOID_HOME="+filepath.Join(dir, "home"), "NOID_SECRET_KEY="+filepath.Join(dir, "key"))
		cmd.Stdin, cmd.Stderr, cmd.SysProcAttr = slave, slave, &syscall.SysProcAttr{Setsid: true, Setctty: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		term := &screen{t: t, r: master}
		term.expect("value of TOKEN: ")
		io.WriteString(master, typed)
		if got := code(cmd.Wait()); got != want {
			t.Errorf("exit code %d, want %d", got, want)
		}
		if mode(t, slave).Lflag&unix.ECHO == 0 {
			t.Error("the terminal has no echo")
		}
		io.WriteString(slave, "the end")
		var shown bytes.Buffer
		(&screen{t: t, r: io.TeeReader(master, &shown), seen: term.seen}).expect("the end")
		if all := string(term.seen) + shown.String(); strings.Contains(all, value) {
			t.Errorf("the terminal shows %q", all)
		}
		if _, err := os.Stat(filepath.Join(dir, "home", "secrets", "TOKEN.json")); (err == nil) != (want == 0) {
			t.Errorf("after %d: %v", want, err)
		}
	}
}
