package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"noid/internal/errs"
	"noid/internal/storage"
	"noid/internal/untrusted"
	"noid/internal/vmm"
)

const (
	// migrateTimeout bounds writing or reading the device state: 0.1 s, and the flush of the guest's disk before it.
	migrateTimeout = 2 * time.Minute
	// pollEvery is how often a migration is looked at.
	pollEvery = time.Millisecond
	// fdName is what QEMU calls the descriptor of the state file.
	fdName = "state"
	// incoming is the command that loads.
	incoming = "migrate-incoming"
)

// WriteBack implements vmm.Driver.
func (d *Driver) WriteBack(ctx context.Context, dir string, memory bool) error {
	files := []string{vmm.RootfsFile}
	if memory {
		files = append(files, memoryFile)
	}
	return vmm.WriteBack(ctx, dir, files...)
}

// MemorySource implements vmm.Driver.
func (d *Driver) MemorySource(dir string) string { return filepath.Join(dir, memoryFile) }

// Snapshot implements vmm.Driver.
func (d *Driver) Snapshot(ctx context.Context, dir, dst string, memory bool) (err error) {
	ctx, cancel := bounded(ctx, migrateTimeout)
	defer cancel()
	c, err := dial(ctx, dir)
	if err != nil {
		return err
	}
	defer c.close()
	status, err := c.status()
	if err != nil {
		return err
	}
	switch status {
	case "paused", "prelaunch":
		if err := hold(ctx, dir); err != nil {
			return err
		}
		if err := c.save(dir); err != nil {
			c.close() // QMP serves one client at a time
			cancelMigration(dir)
			return err
		}
	case "postmigrate": // lastStateFile is still true
	case "suspended":
		return errs.New(errs.ErrState, "the guest has put itself to sleep").Hint("'noid resume' wakes it")
	default:
		return errs.New(errs.ErrState, "the guest must be paused for a snapshot, qemu's status is %q", untrusted.End([]byte(status), 40))
	}
	for _, file := range []struct{ from, to string }{{lastStateFile, vmm.StateSnap}, {memoryFile, vmm.MemorySnap}} {
		if file.from == memoryFile && !memory {
			break
		}
		to := filepath.Join(dst, file.to)
		if _, err := storage.Clone(ctx, to, filepath.Join(dir, file.from)); err != nil {
			return fmt.Errorf("saving %s: %w", file.from, err)
		}
		defer func() {
			if err != nil {
				os.Remove(to)
			}
		}()
	}
	return nil
}

// save has QEMU write its device state to dir's lastStateFile. The guest's memory is left out: it is a shared file.
func (c *client) save(dir string) error {
	if err := vmm.Remove(dir, lastStateFile); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, lastStateFile), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("making the state file: %w", err)
	}
	defer f.Close()
	if err := c.migrate("migrate", f); err != nil {
		return err
	}
	for {
		status, err := c.migration()
		switch {
		case err != nil:
			return fmt.Errorf("saving device state: %w", err)
		case status == "completed":
			return nil
		case status == "cancelled":
			return errors.New("saving device state: cancelled")
		}
		if err := vmm.Sleep(c.ctx, pollEvery); err != nil {
			return fmt.Errorf("saving device state: %w", err)
		}
	}
}

// migrate begins to save or load with command, to or from the stream f. Memory stays out of that. It awaits the answers
// once all is said: in a pause each question and answer counts.
func (c *client) migrate(command string, f *os.File) error {
	capabilities := []map[string]any{{"capability": "x-ignore-shared", "state": true}}
	type step struct {
		command string
		args    map[string]any
		fd      int
	}
	steps := []step{
		{"migrate-set-capabilities", map[string]any{"capabilities": capabilities}, -1},
		{"getfd", map[string]any{"fdname": fdName}, int(f.Fd())},
		{command, map[string]any{"uri": "fd:" + fdName}, -1},
	}
	if command == incoming {
		// No switch has to learn where the guest is now. By default QEMU has it announce itself five times, beside its
		// first commands (announce-rounds in qapi/migration.json). With none, QEMU 7.2 crashes when virtio-net is reset.
		steps = slices.Insert(steps, 0, step{"migrate-set-parameters", map[string]any{"announce-rounds": 1}, -1})
	}
	first := c.lastID + 1
	for _, s := range steps {
		if err := c.send(s.command, s.args, s.fd); err != nil {
			return err
		}
	}
	for i, s := range steps {
		if err := c.await(s.command, first+i, nil); err != nil {
			return err
		}
	}
	return nil
}

// migration returns the status of the migration under way (MigrationStatus in qapi/migration.json); a failed one is an
// error.
func (c *client) migration() (string, error) {
	var answer struct {
		Status string `json:"status"`
		Desc   string `json:"error-desc"`
	}
	if err := c.do("query-migrate", nil, &answer); err != nil {
		return "", err
	}
	if answer.Status == "failed" {
		return "", fmt.Errorf("the migration failed: %s", untrusted.End([]byte(answer.Desc), 500))
	}
	return answer.Status, nil
}

// cancelMigration ends a migration that may be under way and waits until it has let go of the guest. The caller's
// context may have ended: it has its own.
func cancelMigration(dir string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := dial(ctx, dir)
	if err != nil {
		return
	}
	defer c.close()
	if c.do("migrate_cancel", nil, nil) != nil {
		return
	}
	for {
		status, err := c.migration()
		if err != nil || status == "" || status == "none" || status == "cancelled" || status == "completed" {
			return
		}
		if vmm.Sleep(ctx, pollEvery) != nil {
			return
		}
	}
}
