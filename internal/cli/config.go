package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"noid/internal/config"
	"noid/internal/setup"
)

const storageHelp = `On a file system that cannot share blocks (ext4), each clone copies memory and disk. There,
'sudo NOID_HOME=$HOME/.noid noid setup --storage btrfs' moves the home's storage to a btrfs volume, a sparse file in the home.
All VMs must be stopped. After a reboot, 'sudo NOID_HOME=$HOME/.noid noid config set storage btrfs' mounts the volume
again, and makes it larger when it is nearly full; in root's own home, all commands do. 'setup --undo-storage' moves
everything back.
`

// keysHelp lists the keys of the configuration.
func keysHelp() string {
	var b strings.Builder
	b.WriteString("The keys, and what holds where none is set:\n\n")
	for _, key := range config.Keys() {
		fmt.Fprintf(&b, "  %-12s %s\n", key, config.About(key))
	}
	return b.String()
}

func (a *app) configCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Read and change the defaults", Args: cobra.ArbitraryArgs,
		Long:    "Read and change the defaults of new VMs and of noid.\n\n" + keysHelp(),
		Example: "  noid config set mem 512M\n  noid config list",
		RunE: func(cmd *cobra.Command, args []string) error {
			a.started = false
			if len(args) > 0 {
				return fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
			}
			return usageError("set, get, unset or list?", "see 'noid config --help'")
		}}
	cmd.AddCommand(a.configSetCmd(), a.configGetCmd(), a.configUnsetCmd(), a.configListCmd())
	return cmd
}

// configPath is the path of config.toml. A damaged file is the business of the call that follows.
func (a *app) configPath() (string, error) {
	m, err := a.open()
	if m == nil {
		return "", err
	}
	return m.Home.ConfigPath(), nil
}

func (a *app) configSetCmd() *cobra.Command {
	return &cobra.Command{Use: "set KEY VALUE", Short: "Set a default",
		Long:    "Set a default.\n\n" + keysHelp() + "\n" + storageHelp,
		Example: "  noid config set kernel ~/vmlinux\n  noid config set cpus 2",
		RunE: func(cmd *cobra.Command, args []string) error {
			a.asRoot = args[0] == setup.StorageKey
			m, err := a.open()
			if m == nil {
				return err
			}
			if err := setup.Set(cmd.Context(), a.setupOptions(m), args[0], args[1]); err != nil {
				return err
			}
			if args[0] == "warm" && args[1] == "off" {
				m.DropTemplates()
			}
			return nil
		}}
}

func (a *app) configGetCmd() *cobra.Command {
	return &cobra.Command{Use: "get KEY", Short: "Print a default", Example: "  noid config get kernel",
		RunE: func(_ *cobra.Command, args []string) error {
			path, err := a.configPath()
			if err != nil {
				return err
			}
			value, err := config.Get(path, args[0])
			if err != nil {
				return err
			}
			fmt.Fprintln(a.out, value)
			return nil
		}}
}

func (a *app) configUnsetCmd() *cobra.Command {
	return &cobra.Command{Use: "unset KEY", Short: "Go back to the built-in default", Example: "  noid config unset driver",
		RunE: func(cmd *cobra.Command, args []string) error {
			a.asRoot = args[0] == setup.StorageKey
			m, err := a.open()
			if m == nil {
				return err
			}
			return setup.Unset(cmd.Context(), a.setupOptions(m), args[0])
		}}
}

func (a *app) configListCmd() *cobra.Command {
	var asJSON bool
	list := &cobra.Command{Use: "list", Short: "Print all that is set", Example: "  noid config list",
		RunE: func(*cobra.Command, []string) error {
			m, err := a.open()
			if m == nil {
				return err
			}
			entries, err := config.List(m.Home.ConfigPath())
			if err != nil {
				return err
			}
			for _, warning := range m.Config.Ignored {
				m.Warn(warning)
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
	return list
}
