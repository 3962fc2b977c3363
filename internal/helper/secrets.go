package helper

import (
	"context"
	"fmt"
	"net"
	"time"

	"noid/internal/errs"
	"noid/internal/network"
	"noid/internal/network/control"
	"noid/internal/vmm"
)

// valueWait bounds looking up the values once. Tests wait for less.
var valueWait = 2 * time.Minute

const (
	// giveWait bounds giving the network helper those that were got. After a try that failed the next follows after
	// giveAgain; values that a command prints are got anew after renewEvery.
	giveWait   = 10 * time.Second
	giveAgain  = 30 * time.Second
	renewEvery = 5 * time.Minute
)

// Secrets has the values of secrets.
type Secrets interface {
	// Give returns what a network helper is told of the secrets that a VM may use. What it cannot get is left out, and
	// is in the error. It may ask a keyring, or run commands, until ctx ends.
	Give(ctx context.Context, names []string) (*control.Secrets, error)
	// Changing returns those of names whose values may become other ones.
	Changing(names []string) []string
}

// giveSecrets gives the network helper the secrets of the VM in the current directory, again each time that one is
// started, and again what changes, until ctx ends. The network helper keeps them in its memory alone, and this process
// keeps none.
func giveSecrets(ctx context.Context, from Secrets, vmmPID int, started <-chan bool) {
	for due := true; ctx.Err() == nil; {
		c, err := network.Load(".")
		names := c.Secrets
		if !due {
			names = from.Changing(names)
		}
		if err == nil && len(names) > 0 {
			err = giveOnce(ctx, from, names, vmmPID)
		}
		wait := renewEvery
		if due = err != nil; due && ctx.Err() == nil {
			note(fmt.Sprintf("noid: secrets: %v\n", err))
			wait = giveAgain
		}
		select {
		case <-started:
			due = true
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// giveOnce gives what can be had. What cannot stays in the network helper as it is.
func giveOnce(ctx context.Context, from Secrets, names []string, vmmPID int) error {
	given, problems := look(ctx, from, names)
	if given == nil {
		return problems
	}
	helper := control.Client{VMM: vmmPID, Dial: func(ctx context.Context) (net.Conn, error) { return vmm.Dial(ctx, ".", network.ControlSocket) }}
	ctx, cancel := context.WithTimeout(ctx, giveWait) // one of its own: the look-ups may have taken all of theirs
	defer cancel()
	_, err := helper.Ask(ctx, control.Request{Op: control.SetSecrets, Secrets: given})
	return errs.Join(problems, err)
}

// look looks up the values of names, for as long as valueWait.
func look(ctx context.Context, from Secrets, names []string) (*control.Secrets, error) {
	ctx, cancel := context.WithTimeout(ctx, valueWait)
	defer cancel()
	return from.Give(ctx, names)
}
