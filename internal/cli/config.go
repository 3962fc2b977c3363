package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"noid/internal/config"
	"noid/internal/errs"
	"noid/internal/setup"
	"noid/internal/vm"
)

func usageError(text, hint string) error {
	return errs.New(errs.ErrUsage, "%s", text).Hint(hint)
}

func (a *app) configCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Read and change the defaults", Args: cobra.ArbitraryArgs, RunE: func(cmd *cobra.Command, args []string) error {
		a.started = false
		if len(args) > 0 {
			return fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
		}
		return usageError("set, get, unset or list?", "see 'noid config --help'")
	}}
	path := func() (string, error) {
		home, err := a.open()
		if home == nil {
			return "", err
		}
		return home.ConfigPath(), nil // a damaged file is the business of the call that follows
	}
	cmd.AddCommand(&cobra.Command{Use: "set KEY VALUE", Short: "Set a default", Args: cobra.ExactArgs(2),
		Long: "Set a default. The keys are " + strings.Join(config.Keys(), ", ") + ".\n\n" + storageHelp + exitHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := path()
			if err != nil {
				return err
			}
			if args[0] == setup.StorageKey {
				return setup.SetStorage(cmd.Context(), a.setupOptions(), args[1], "config set storage "+args[1])
			}
			if err := config.Set(p, args[0], args[1], checkFile); err != nil {
				return err
			}
			if args[0] == "warm" && args[1] == "off" {
				(&vm.Manager{Home: a.home}).DropTemplates()
			}
			return nil
		}})
	cmd.AddCommand(&cobra.Command{Use: "get KEY", Short: "Print a default", Args: cobra.ExactArgs(1), RunE: func(_ *cobra.Command, args []string) error {
		p, err := path()
		if err != nil {
			return err
		}
		value, err := config.Get(p, args[0])
		if err != nil {
			return err
		}
		fmt.Fprintln(a.out, value)
		return nil
	}})
	cmd.AddCommand(&cobra.Command{Use: "unset KEY", Short: "Go back to the built-in default", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		p, err := path()
		if err != nil {
			return err
		}
		if args[0] == setup.StorageKey {
			return setup.UnsetStorage(cmd.Context(), a.setupOptions(), "config unset storage")
		}
		return config.Unset(p, args[0])
	}})
	var asJSON bool
	list := &cobra.Command{Use: "list", Short: "Print all that is set", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
		p, err := path()
		if err != nil {
			return err
		}
		entries, err := config.List(p)
		if err != nil {
			return err
		}
		rows, values := [][]string{}, map[string]string{}
		for _, e := range entries {
			rows, values[e.Key] = append(rows, []string{e.Key, e.Value}), e.Value
		}
		if asJSON {
			return printJSON(a.out, values)
		}
		table(a.out, []string{"key", "value"}, rows)
		return nil
	}}
	list.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.AddCommand(list)
	return cmd
}
