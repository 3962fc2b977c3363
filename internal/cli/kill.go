package cli

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"noid/internal/config"
	"noid/internal/errs"
)

func (a *app) killCmd() *cobra.Command {
	var signal string
	cmd := &cobra.Command{
		Use: "kill NAME ID", Short: "Send a signal to a command in the guest",
		Long:    "Send a signal to a command in the guest, to all of its process group. 'noid ps' lists the commands and their ids.\n",
		Example: "  noid kill dev 1a2b3c4d\n  noid kill -s INT dev 1a2b3c4d",
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := signalNumber(signal)
			if err != nil {
				return err
			}
			m, err := a.manager()
			if err != nil {
				return err
			}
			return m.Signal(cmd.Context(), args[0], strings.ToLower(args[1]), n)
		},
	}
	cmd.Flags().StringVarP(&signal, "signal", "s", "TERM", "`signal`, by name or number")
	return cmd
}

// signalNumber reads a signal as kill(1) does: TERM, SIGTERM, sigterm or 15.
func signalNumber(s string) (int, error) {
	if n, err := strconv.Atoi(s); err == nil {
		if n < 1 || n > 64 {
			return 0, errs.New(errs.ErrUsage, "no signal %d: they go from 1 to 64", n)
		}
		return n, nil
	}
	name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	if n := unix.SignalNum("SIG" + name); n != 0 {
		return int(n), nil
	}
	var names []string
	for n := unix.Signal(1); n < 32; n++ {
		names = append(names, strings.TrimPrefix(unix.SignalName(n), "SIG"))
	}
	err := errs.New(errs.ErrUsage, "no signal %q", s)
	if near := config.Nearest(name, names); near != "" {
		return 0, errs.WithHint(err, "did you mean "+near+"?")
	}
	return 0, errs.WithHint(err, "'kill -l' lists them")
}
