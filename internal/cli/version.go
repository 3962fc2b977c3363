package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"noid/internal/version"
	"noid/internal/vm"
)

func (a *app) versionCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "version", Short: "Print noid's version", Example: "  noid version --json",
		RunE: func(*cobra.Command, []string) error { return a.printVersion(asJSON) }}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// versionInfo is what noid says of itself as JSON.
func versionInfo() map[string]any {
	revision := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
	}
	return map[string]any{"version": version.Release, "revision": revision, "go": runtime.Version(), "arch": runtime.GOARCH,
		"guest_programs": vm.HasGuestPrograms()}
}

func (a *app) printVersion(asJSON bool) error {
	if asJSON {
		return printJSON(a.out, versionInfo())
	}
	without := ""
	if !vm.HasGuestPrograms() {
		without = " without the guest's programs: build noid with 'make build'"
	}
	fmt.Fprintf(a.out, "noid %s %s/%s %s%s\n", version.Release, runtime.GOOS, runtime.GOARCH, runtime.Version(), without)
	return nil
}
