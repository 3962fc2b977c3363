package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"noid/internal/config"
	"noid/internal/errs"
)

func usageError(text, hint string) error {
	return errs.New(errs.ErrUsage, "%s", text).Hint(hint)
}

// usage turns what the parser refused into an error with the nearest match and the place to read on.
func usage(cmd *cobra.Command, err error) error {
	text, hint := err.Error(), fmt.Sprintf("see '%s --help'", cmd.CommandPath())
	text, _, _ = strings.Cut(text, "\n")
	if word, ok := strings.CutPrefix(text, "unknown command \""); ok {
		word, _, _ = strings.Cut(word, "\"")
		var names []string
		for _, c := range cmd.Commands() {
			if !c.Hidden {
				names = append(names, c.Name())
			}
		}
		if near := config.Nearest(word, names); near != "" {
			hint = fmt.Sprintf("did you mean '%s %s'?", cmd.CommandPath(), near)
		}
	}
	if word, ok := strings.CutPrefix(text, "unknown flag: --"); ok {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		if near := config.Nearest(word, names); near != "" {
			hint = "did you mean '--" + near + "'?"
		}
	}
	if errs.Hint(err) != "" {
		hint = errs.Hint(err)
	}
	return errs.New(errs.ErrUsage, "%s", text).Hint(hint)
}
