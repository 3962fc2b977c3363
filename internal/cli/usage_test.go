package cli

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"noid/internal/errs"
)

// TestArguments gives every command no argument, and a thousand: what it refuses it refuses in noid's words, with a
// hint.
func TestArguments(t *testing.T) {
	root := (&app{out: &bytes.Buffer{}, err: &bytes.Buffer{}}).root()
	var look func(cmd *cobra.Command)
	look = func(cmd *cobra.Command) {
		for _, args := range [][]string{nil, slices.Repeat([]string{"a"}, 1000)} {
			err := cmd.ValidateArgs(args)
			if err != nil && (errs.Hint(err) == "" || !strings.HasPrefix(err.Error(), strings.TrimPrefix(cmd.CommandPath(), "noid ")+": ")) {
				t.Errorf("%s with %d arguments: %v, hint %q", cmd.CommandPath(), len(args), err, errs.Hint(err))
			}
			if takesNone := !strings.ContainsAny(cmd.Use, " "); takesNone && !cmd.HasSubCommands() && (err != nil) != (len(args) > 0) {
				t.Errorf("%s takes no argument; of %d it says %v", cmd.CommandPath(), len(args), err)
			}
		}
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() && c.Name() != "help" {
				look(c)
			}
		}
	}
	look(root)
	for word, verb := range otherWords {
		if found, _, err := root.Find([]string{verb}); err != nil || found == root {
			t.Errorf("%q is to mean %q, which is no command", word, verb)
		}
		if found, _, err := root.Find([]string{word}); err == nil && found != root {
			t.Errorf("%q is a command", word)
		}
	}
}
