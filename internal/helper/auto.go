package helper

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"noid/internal/vmm"
)

const (
	// vmRecord is the VM's record, of which the helper reads one field.
	vmRecord = "vm.json"
	// lookEvery is how often it does so, where the record has changed.
	lookEvery = 10 * time.Second
	// autoTime bounds one checkpoint.
	autoTime = 10 * time.Minute
)

// keepCheckpointing runs command with the VM's name appended each time that the VM's record says that a checkpoint is
// due, until ctx ends.
func keepCheckpointing(ctx context.Context, command []string, lookEvery time.Duration) {
	var read time.Time // when the record was written that every is of
	var every time.Duration
	last := time.Now()
	for ctx.Err() == nil {
		wait := lookEvery
		if info, err := os.Stat(vmRecord); err == nil && !info.ModTime().Equal(read) {
			read, every = info.ModTime(), recorded()
		}
		if every > 0 {
			if left := every - time.Since(last); left <= 0 {
				checkpointNow(ctx, command)
				last = time.Now()
			} else {
				wait = min(wait, left)
			}
		}
		vmm.Sleep(ctx, wait)
	}
}

// recorded returns how often the VM's record wants a checkpoint, 0 for never.
func recorded() time.Duration {
	data, err := os.ReadFile(vmRecord)
	if err != nil {
		return 0
	}
	var v struct {
		Auto string `json:"auto"`
	}
	if json.Unmarshal(data, &v) != nil {
		return 0
	}
	every, err := time.ParseDuration(v.Auto)
	if err != nil || every < time.Second {
		return 0
	}
	return every
}

// checkpointNow makes one. What goes wrong stands in the VM's autoErrors.
func checkpointNow(ctx context.Context, command []string) {
	dir, err := os.Readlink("/proc/self/cwd") // whatever the VM is called by now
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, autoTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], append(command[1:len(command):len(command)], filepath.Base(dir))...)
	cmd.Dir = "/"
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it lets the guest run again
	cmd.WaitDelay = 10 * time.Second
	if log, err := os.OpenFile(autoErrors, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600); err == nil {
		defer log.Close()
		cmd.Stderr = log
	}
	cmd.Run()
}

// autoErrors has what the last automatic checkpoint said.
const autoErrors = "auto.err"
