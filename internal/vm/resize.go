package vm

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/confine"
	"noid/internal/errs"
	"noid/internal/link"
	"noid/internal/link/wire"
	"noid/internal/untrusted"
	"noid/internal/vmm"
)

// growWait is how long Resize waits for the agent of a guest that runs: it may be booting.
const growWait = 3 * time.Minute

// Resize makes the VM's own disk diskMiB long, while it runs or not, and has the guest's file system fill it: at once,
// or when it boots next. A disk can only grow: a smaller one is errs.ErrUsage. When it was killed or fails in the
// middle, it can be repeated.
func (m *Manager) Resize(ctx context.Context, name string, diskMiB int) error {
	if err := m.beginFilling(ctx, "resize"); err != nil {
		return err
	}
	s, up, err := m.growDevice(ctx, name, int64(diskMiB)<<20)
	if err != nil || !up {
		return err
	}
	if !s.vm.Machine.Agent {
		m.notice(fmt.Sprintf("vm %q has no agent: its file system grows when it boots next", name))
		return nil
	}
	if err := s.growFS(ctx, int64(diskMiB)<<20); err != nil {
		return errs.WithHint(s.errorf("resizing", err), fmt.Sprintf("the disk is larger, its file system not yet: repeat this, or 'noid stop %s' and 'noid start %s', or grow it in the guest", name, name))
	}
	return nil
}

// growDevice makes the file of the disk length bytes long and tells the VMM, if the VM runs, as up says then.
func (m *Manager) growDevice(ctx context.Context, name string, length int64) (s *session, up bool, err error) {
	if s, err = m.open(ctx, name, "resize"); err != nil {
		return nil, false, err
	}
	defer s.close()
	if s.state(ctx) == Paused {
		return nil, false, errs.New(errs.ErrState, "resize: vm %q is paused", name).Hint("let it run with 'noid resume " + name + "'")
	}
	if up = s.state(ctx) == Running; up {
		if err := confine.AllowLength(s.vm.Process.PID, vmm.FileLimit(length, s.vm.Machine.MemMiB)); err != nil {
			return nil, false, errs.New(errs.ErrState, "resize: the VMM of vm %q may have no longer files: %w", name, err).Hint("'noid stop " + name + "' first")
		}
	}
	if err := s.growFile(length); err != nil {
		return nil, false, s.errorf("resizing", err)
	}
	if up {
		err = s.explain(s.driver.GrowDisk(ctx, s.dir, length))
	}
	return s, up, err
}

// growFile records that the disk is to be length bytes long, and makes its file so, if it is shorter: with a hole.
func (s *session) growFile(length int64) error {
	f, err := untrusted.Open(s.dir, vmm.RootfsFile, unix.O_RDWR)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return err
	case info.Size() > length:
		return errs.New(errs.ErrUsage, "the disk has %d MiB already: it can only grow", info.Size()>>20)
	}
	s.vm.Machine.DiskMiB = int(length >> 20)
	if s.vm.Unannounced != nil { // it is no longer what its template would be made for
		s.vm.Unannounced.Template = ""
	}
	if err := s.save(); err != nil || info.Size() == length { // done before, or by a resize that was killed
		return err
	}
	if err := f.Truncate(length); err != nil {
		return err
	}
	return f.Sync()
}

// growFS has the agent grow the file system to a disk of length bytes.
func (s *session) growFS(ctx context.Context, length int64) error {
	if err := s.introduce(ctx, growWait); err != nil {
		return err
	}
	client := s.agent()
	client.Patience = growWait
	said := &guestText{}
	exit, err := client.Exec(ctx, wire.Exec{Tool: true, Argv: byteSlices([]string{"grow-disk", strconv.FormatInt(length, 10)})},
		link.Streams{Out: said, Err: said})
	if err == nil && exit.Code != 0 {
		err = errors.New("the guest says: " + untrusted.Line(said.text.String(), 500))
	}
	return err
}
