package helper

import (
	"context"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"noid/internal/console"
	"noid/internal/proc"
	"noid/internal/vmm"
)

const (
	// lockWait is how long a new helper waits for the one before, of a VMM that has just ended, to go.
	lockWait = 5 * time.Second
	// memoryLimit, in bytes, makes the collector work harder rather than a helper grow: there is one a VM.
	memoryLimit = 32 << 20
	// retryEvery is how long a log that cannot be shortened is left alone.
	retryEvery = 10 * time.Second
)

// Run is the whole work of the helper of a VM of d. args name the VM's VMM, as proc.Process.Args does. It returns after
// the VMM's end, or at once where another helper is at work. The current directory is the VM's, and everything goes by
// relative names: whatever the directory is renamed to, it stays this VM's. resume is 'noid resume' for this VM; it
// fails while another command has the VM. n is what the network helper is run with that a VM with a network
// gets; nil: none gets one. checkpoint, to which the VM's name is appended, makes a checkpoint that is due; empty: none
// is made.
func Run(ctx context.Context, d vmm.Driver, args []string, resume func(context.Context) error, n *Network, checkpoint []string) error {
	p, err := proc.Parse(args)
	if err != nil {
		return err
	}
	debug.SetMemoryLimit(memoryLimit)
	wait, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	if mine, err := Lock(wait); err != nil || !mine {
		return err
	}
	ctx, end := context.WithCancel(ctx)
	defer end()
	go func() {
		p.Wait(ctx)
		end()
	}()
	var all sync.WaitGroup
	for _, log := range append([]string{vmm.SerialLogFile}, d.Logs()...) {
		all.Go(func() { bound(ctx, log, p) })
	}
	all.Go(func() { guard{d, p}.serve(ctx) })
	if n != nil {
		all.Go(func() { keepNetwork(ctx, p, n) })
	}
	if len(checkpoint) > 0 {
		all.Go(func() { keepCheckpointing(ctx, checkpoint, lookEvery) })
	}
	err = d.Assist(ctx, resume)
	all.Wait()
	os.Chdir("/") // before the lock is free: who waits for it may unmount the home
	return err
}

// bound keeps a log from growing while p lives. One that cannot be shortened now may be later.
func bound(ctx context.Context, log string, p proc.Process) {
	for p.Alive() && ctx.Err() == nil {
		if console.BoundLog(ctx, log, p.Alive) == nil {
			return
		}
		vmm.Sleep(ctx, retryEvery)
	}
}
