package cli

import (
	"context"
	"fmt"

	"noid/internal/api"
	"noid/internal/vm"
)

// madeJSON is what create and restore --json print.
type madeJSON struct {
	api.VM
	Backup string `json:"backup,omitempty"` // the checkpoint that keeps what a restore in place has replaced
}

// printMade prints the name of a VM that was made, or all that a listing has of it.
func (a *app) printMade(ctx context.Context, m *vm.Manager, name, backup string, asJSON bool) error {
	if !asJSON {
		fmt.Fprintln(a.out, name)
		return nil
	}
	made, err := infoJSON(ctx, m, name)
	if err != nil {
		return err
	}
	return printJSON(a.out, madeJSON{made, backup})
}

func infoJSON(ctx context.Context, m *vm.Manager, name string) (api.VM, error) {
	info, err := m.Info(ctx, name)
	if err != nil {
		return api.VM{}, fmt.Errorf("vm %q was made: %w", name, err)
	}
	return api.VMOf(info), nil
}
