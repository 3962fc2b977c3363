package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"noid/internal/config"
)

// TestHelp looks at the help of every command: it has an example, says where the exit codes are explained, and no line
// is longer than a wide terminal.
func TestHelp(t *testing.T) {
	root := (&app{out: &bytes.Buffer{}, err: &bytes.Buffer{}}).root()
	var look func(cmd *cobra.Command)
	look = func(cmd *cobra.Command) {
		var out bytes.Buffer
		cmd.SetOut(&out)
		showHelp(cmd, nil)
		text, name := out.String(), cmd.CommandPath()
		if cmd.Runnable() && (cmd.Example == "" || !strings.Contains(text, "Examples:\n  noid ") && !strings.Contains(text, "| noid ")) {
			t.Errorf("%s has no example", name)
		}
		if cmd.Runnable() && !strings.Contains(text, "help exit-codes") && !strings.Contains(text, "Exit status:") {
			t.Errorf("%s does not say what its exit codes mean", name)
		}
		if strings.HasSuffix(cmd.Short, ".") || cmd.Short == "" {
			t.Errorf("%s is %q", name, cmd.Short)
		}
		for _, line := range strings.Split(text, "\n") {
			if len([]rune(line)) > 130 {
				t.Errorf("%s: a line of %d characters: %s", name, len([]rune(line)), line)
			}
		}
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() {
				look(c)
			}
		}
	}
	look(root)
	var out bytes.Buffer
	root.SetOut(&out)
	showHelp(root, nil)
	for _, word := range []string{"VMs:", "In the guest:", "Checkpoints:", "Set-up and storage:", "exit-codes", "environment"} {
		if !strings.Contains(out.String(), word) {
			t.Errorf("noid's help does not have %q", word)
		}
	}
	for _, key := range config.Keys() {
		if config.About(key) == "" || !strings.Contains(keysHelp(), key) {
			t.Errorf("the help of config does not explain %q", key)
		}
	}
}
