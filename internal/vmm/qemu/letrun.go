package qemu

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/untrusted"
	"noid/internal/vmm"
)

// LetRun implements vmm.Driver. QMP serves one client at a time, which may be the noid that stands still. So it goes
// over the second monitor, which nobody else uses.
func (d *Driver) LetRun(ctx context.Context, dir string) (ran bool, err error) {
	ctx, cancel := bounded(ctx, stateTimeout)
	defer cancel()
	var now struct{ Status string }
	if err := askEvents(ctx, dir, "query-status", &now); err != nil {
		return false, err
	}
	switch {
	case now.Status != "paused" && now.Status != "postmigrate" && now.Status != "finish-migrate", isWaiting(dir):
		return true, nil
	}
	if err := askEvents(ctx, dir, "cont", nil); err != nil { // refused while the device state is being written
		return false, err
	}
	release(dir)
	return false, nil
}

// askEvents has the second monitor carry out a command, and finds the answer among the events.
func askEvents(ctx context.Context, dir, command string, result any) error {
	fd, err := unix.Open(filepath.Join(dir, eventsInFile), unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s: opening the second monitor: %w", command, err)
	}
	in := os.NewFile(uintptr(fd), eventsInFile)
	defer in.Close()
	if info, err := in.Stat(); err != nil || info.Mode().Type() != os.ModeNamedPipe {
		return fmt.Errorf("%s: %s is no FIFO", command, eventsInFile)
	}
	id := int(time.Now().UnixNano())
	if _, err := fmt.Fprintf(in, `{"execute":%q,"id":%d}`+"\n", command, id); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	for {
		for line := range bytes.Lines(untrusted.Tail(filepath.Join(dir, eventsOutFile), eventsTail)) {
			var answer message
			switch {
			case json.Unmarshal(line, &answer) != nil || answer.ID != id:
			case answer.Error != nil:
				return fmt.Errorf("%s: %w", command, answer.Error)
			case result == nil:
				return nil
			default:
				return json.Unmarshal(answer.Return, result)
			}
		}
		if err := vmm.Sleep(ctx, pollEvery); err != nil {
			return fmt.Errorf("%s: %w", command, err)
		}
	}
}
