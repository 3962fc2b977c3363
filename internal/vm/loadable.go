package vm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"noid/internal/checkpoint"
	"noid/internal/errs"
	"noid/internal/manifest"
	"noid/internal/vmm"
)

// checkLoadable refuses what this host cannot take: errs.ErrHost. What only the VMM can tell, it tells when the new VM
// is made, which is before anything of the old one is touched: see explainLoad.
func (s source) checkLoadable(ctx context.Context) error {
	c := s.c
	if err := c.CheckBoots(ctx, false); err != nil {
		if !c.Memory || !s.driver.Traits().LoadsWithoutBootFiles || ctx.Err() != nil {
			return err
		}
		s.warn(err.Error() + ": it can run, but not be started again once it is stopped")
	}
	if err := s.checkDriver(c.Machine.Driver, c.Machine.KernelPath); err != nil {
		return s.orDisk(fmt.Errorf("checkpoint %s@%s cannot be loaded here: %w", c.VM, c.ID, err))
	}
	if !c.Memory {
		return nil
	}
	if err := s.driver.CanLoad(c.Machine); err != nil {
		return s.orDisk(s.explainLoad(ctx, fmt.Errorf("checkpoint %s@%s cannot be loaded here: %w", c.VM, c.ID, err)))
	}
	if c.Host == nil {
		return nil
	}
	here, err := checkpoint.ThisHost()
	if err != nil {
		return err
	}
	if err := checkpoint.Fits(*c.Host, *here); err != nil {
		return errs.New(errs.ErrHost, "checkpoint %s@%s cannot be loaded here: %w", c.VM, c.ID, err).Hint("restore it on a host with such a processor" + s.orDiskHint())
	}
	return nil
}

// orDisk is err of what cannot load the memory, with the cure of going without it.
func (s source) orDisk(err error) error {
	if more := s.orDiskHint(); more != "" && !strings.HasSuffix(errs.Hint(err), more) {
		return errs.WithHint(err, strings.TrimPrefix(errs.Hint(err)+more, "; "))
	}
	return err
}

func (s source) orDiskHint() string {
	if s.verb != "restore" || !s.c.Memory {
		return ""
	}
	return "; 'noid restore --disk-only' boots its disk without its memory"
}

// otherVersion explains why the VMM, whose version is here, did not load what was saved by machine's: another version
// that cannot is errs.ErrHost. err is what it said.
func otherVersion(machine vmm.Machine, here string, err error) error {
	if here == "" || machine.DriverVersion == "" || here == machine.DriverVersion {
		return err
	}
	hint := "load it with " + machine.Driver + " " + machine.DriverVersion + ": noid config set " + machine.Driver + " PATH"
	return errs.New(errs.ErrHost, "it was saved by %s %s, this is %s: %w", machine.Driver, machine.DriverVersion, here, err).Hint(hint)
}

// explainLoad is err of a VMM that did not load s, with the cause where that is its version. Only then is a process
// spent on asking.
func (s source) explainLoad(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	m := s.c.Machine
	if errors.Is(err, errs.ErrHost) {
		if errs.Hint(err) == "" {
			err = errs.WithHint(err, fmt.Sprintf("it was saved by noid %s with %s %s", s.c.NoidVersion, m.Driver, m.DriverVersion))
		}
		return s.orDisk(err)
	}
	here, _ := s.driver.Version(ctx)
	if err := otherVersion(m, here, err); errors.Is(err, errs.ErrHost) {
		return s.orDisk(err)
	}
	return err
}

// findBootFiles looks for machine's kernel and initrd. If a recorded one is gone, as after a move of the home, machine
// gets the file of that name in this home. It returns files by their new paths. CheckBoots says whether they are the
// same.
func (m *Manager) findBootFiles(machine *vmm.Machine, files map[string]manifest.File) map[string]manifest.File {
	files = maps.Clone(files)
	for _, path := range []*string{&machine.KernelPath, &machine.InitrdPath} {
		here := filepath.Join(m.Home.KernelsDir(), filepath.Base(*path))
		if _, err := os.Stat(*path); *path == "" || !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if _, err := os.Stat(here); err != nil {
			continue
		}
		if file, ok := files[*path]; ok {
			delete(files, *path)
			files[here] = file
		}
		*path = here
	}
	return files
}
