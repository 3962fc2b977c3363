package console

import (
	"os"
	"path/filepath"
	"testing"
)

func TestReadBoot(t *testing.T) {
	const firmware = "\x1bc\x1b[?7l\x1b[2J\x1b[0mSeaBIOS (version 1.16.2)\r\nBooting from ROM...\r\n\x1bc\x1b[?7l\x1b[2J"
	for _, c := range []struct {
		name, log string
		want      Boot
	}{
		{"nothing yet", "", Boot{}},
		{"firmware", firmware, Boot{}},
		{"kernel", firmware + "[    0.000000] Linux version 6.1\r\n[   12.345678] x", Boot{}},
		{"the agent", firmware + "noid-init: the agent runs\r\n", Boot{Agent: true}},
		{"the agent, behind an unfinished line", "[    1.000000] xnoid-init: the agent runs\r\n", Boot{Agent: true}},
		{"no agent", firmware + "noid-init: starting the agent: no such file or directory\r\n", Boot{}},
		{"a prompt", firmware + "[    1.000000] x\r\n\r\n~ # \x1b[6n", Boot{Root: true}},
		{"a later boot", firmware + "noid-init: the agent runs\r\n~ # " + firmware, Boot{Agent: true, Root: true}},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "serial.log"), []byte(c.log), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadBoot(t.Context(), dir); got != c.want || err != nil {
			t.Errorf("%s: %+v, %v, want %+v", c.name, got, err, c.want)
		}
	}
}
