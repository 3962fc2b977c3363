package helper

import (
	"context"
	"fmt"
	"net"
	"slices"
	"time"

	"noid/internal/errs"
	"noid/internal/network"
	"noid/internal/network/control"
	"noid/internal/vmm"
)

const (
	// giveWait bounds one try to give the network helper its secrets. After one that failed the next follows after
	// giveAgain; values that a command prints are got anew after renewEvery.
	giveWait   = 2 * time.Minute
	giveAgain  = 30 * time.Second
	renewEvery = 5 * time.Minute
)

// Secrets has the values of secrets.
type Secrets interface {
	// Give returns what a network helper is told of the secrets that a VM may use. What it cannot get is left out, and is
	// in the error. It may ask a keyring, or run commands, until ctx ends.
	Give(ctx context.Context, names []string) (*control.Secrets, error)
	// Changes reports whether one of the values may become another one.
	Changes(names []string) bool
}

// giveSecrets gives a network helper that has been started the secrets of the VM in the current directory, and again what
// changes, until ctx ends. The network helper keeps them in its memory alone, and this process keeps none.
func giveSecrets(ctx context.Context, from Secrets, vmmPID int) {
	for due := true; ctx.Err() == nil; {
		c, err := network.Load(".")
		if err == nil && len(c.Secrets) > 0 && (due || from.Changes(c.Secrets)) {
			err = giveOnce(ctx, from, c.Secrets, vmmPID)
		}
		wait := renewEvery
		if due = err != nil; due && ctx.Err() == nil {
			note(fmt.Sprintf("noid: secrets: %v\n", err))
			wait = giveAgain
		} else if now, err := network.Load("."); err == nil && !slices.Equal(now.Secrets, c.Secrets) {
			due, wait = true, 0 // they were changed meanwhile, and this may have undone it
		}
		vmm.Sleep(ctx, wait)
	}
}

// giveOnce gives what can be had.
func giveOnce(ctx context.Context, from Secrets, names []string, vmmPID int) error {
	ctx, cancel := context.WithTimeout(ctx, giveWait)
	defer cancel()
	given, problems := from.Give(ctx, names)
	if given == nil {
		return problems
	}
	helper := control.Client{VMM: vmmPID, Dial: func(ctx context.Context) (net.Conn, error) { return vmm.Dial(ctx, ".", network.ControlSocket) }}
	_, err := helper.Ask(ctx, control.Request{Op: control.SetSecrets, Secrets: given})
	return errs.Join(problems, err)
}
