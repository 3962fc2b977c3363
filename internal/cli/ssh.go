package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"noid/internal/sshconf"
	"noid/internal/vm"
)

func (a *app) sshConfigCmd() *cobra.Command {
	const usual = "~/.ssh/config"
	var file string
	cmd := &cobra.Command{
		Use: "ssh-config [flags] [NAME...]", Short: "Let ssh, scp, rsync and git reach VMs",
		Long: `Print what ssh's configuration needs to reach VMs as NAME.noid: all of them, or those named, which editors list then.
With --install, put it into a file of the home, and have your ` + usual + ` include that. What was there before is kept
beside it. ssh then reaches each VM of the home, those of later too: ssh dev.noid.

ssh logs in as root, or as any user of the guest: ssh alice@dev.noid. The guest needs no network and no SSH server: noid
brings one, which runs while ssh is connected, and no port is opened. No key is asked for: who can run noid in this home
may run any command in its guests. NAME+ID.noid and NAME+now.noid look into a moment, as NAME@ID does in 'noid exec'.
`,
		Example: "  noid ssh-config --install\n  ssh dev.noid\n  scp report.pdf dev.noid:/root/\n  rsync -a dev.noid:/srv/ srv/\n  git clone dev.noid:/srv/project\n  ssh -L 8080:localhost:80 dev.noid",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			if err := checkAll(args, m.CheckExists); err != nil {
				return err
			}
			return a.sshConfig(m, args, file)
		}),
	}
	cmd.Flags().StringVar(&file, "install", "", "have ssh use it: let the configuration `FILE` include it")
	cmd.Flags().Lookup("install").NoOptDefVal = usual
	return cmd
}

// sshConfig prints the configuration for the VMs names, or has file include one for all.
func (a *app) sshConfig(m *vm.Manager, names []string, file string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := m.Home.Make(); err != nil {
		return err
	}
	o := sshconf.Options{Program: self, Dir: m.SSHDir(), VMs: unique(names)}
	if usual, err := os.UserHomeDir(); err != nil || m.Home.Dir() != filepath.Join(usual, ".noid") {
		o.Home = m.Home.Dir()
	}
	if _, err := sshconf.HostKey(o.Dir); err != nil {
		return err
	}
	config, err := sshconf.Config(o)
	if err != nil {
		return err
	}
	if file == "" {
		_, err = fmt.Fprint(a.out, config)
		return err
	}
	if file == "~/.ssh/config" { // where ssh looks, whatever HOME is
		u, err := user.Current()
		if err != nil {
			return err
		}
		file = filepath.Join(u.HomeDir, ".ssh", "config")
	}
	changed, err := sshconf.Install(o.Dir, config, file)
	switch {
	case err != nil:
		return err
	case changed:
		a.say("noid: %s includes %s; ssh NAME%s reaches a VM", file, o.Dir, sshconf.Suffix)
	default:
		a.say("noid: %s includes it already", file)
	}
	return nil
}

// sshWait is how long a guest may take to be up.
const sshWait = time.Minute

func (a *app) sshProxyCmd() *cobra.Command {
	return &cobra.Command{
		Use: "ssh-proxy HOST", Short: "Connect ssh to a guest: its ProxyCommand", Hidden: true, Args: arguments,
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			name, ref, err := m.SSHTarget(args[0])
			if err != nil {
				return err
			}
			err = m.SSH(ctx, name, ref, sshWait, os.Stdin, os.Stdout)
			if errors.Is(err, syscall.EPIPE) || ctx.Err() != nil { // ssh has ended, and says so itself
				return codeError{exitInterrupted}
			}
			return err
		}),
	}
}
