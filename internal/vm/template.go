package vm

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"noid/internal/checkpoint"
	"noid/internal/manifest"
	"noid/internal/storage"
	"noid/internal/vmm"
)

// A template is a guest right after its boot, kept so that the next VM of the same kind is restored and not booted. It
// is what capture makes of the first VM of its kind, at the moment when the agent answers and before any command has
// run: announce does that for whoever comes first. It has nobody's identity.

const (
	maxTemplates     = 4       // the ones used last stay
	maxTemplateBytes = 4 << 30 // of disk that all may take, shared blocks included
)

// templateKey names the template of the VMs that are as s: it is another one as soon as anything is that a boot depends
// on.
func (s *session) templateKey() (string, error) {
	with, err := s.driver.Stamp()
	if err != nil {
		return "", err
	}
	source := cmp.Or(s.vm.SourceBase, s.vm.SourceRootfs)
	info, err := os.Stat(source)
	if err != nil {
		return "", err
	}
	m := s.vm.Machine
	// The names of kernel and initrd are made of their contents or of their sources' lengths and times.
	key := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d\x00%d\x00%s\x00%s\x00%s\x00%d\x00%d\x00%t\x00%d\x00%t\x00%s", s.Version, source, info.Size(),
		info.ModTime().UnixNano(), with, m.KernelPath, m.InitrdPath, m.CPUs, m.MemMiB, m.Base, m.DiskMiB, m.Net, m.BootArgs))
	return fmt.Sprintf("%x", key[:8]), nil
}

// fromTemplate makes the VM of the template key, if there is one that is whole and loads. Nil: the VM must be booted.
func (s *session) fromTemplate(ctx context.Context, key string) *session {
	dir := s.Home.TemplateDir(key)
	c, err := checkpoint.ReadAny(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = untouched(dir, c)
	}
	if err == nil && c.Machine.NetPair && s.Drivers.CanNetwork() == nil {
		err = errors.New("its network is slower than this host's")
	}
	from := source{Manager: s.Manager, verb: s.verb, c: c, dir: dir, driver: s.driver, net: s.net, lease: s.lease}
	if err == nil {
		err = from.checkLoadable(ctx)
	}
	var made *session
	if err == nil {
		v := s.vm
		v.WarmFrom = &c.CreatedAt
		made, err = from.restoration(v).run(ctx)
	}
	if err != nil {
		if ctx.Err() == nil {
			s.Home.RemoveTemplate(key)
		}
		return nil
	}
	now := time.Now()
	os.Chtimes(dir, now, now) // its last use
	return made
}

// untouched refuses a template whose files somebody has written to.
func untouched(dir string, c checkpoint.Record) error {
	for _, name := range c.FileNames() {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil || !c.Files[name].Untouched(info) {
			return fmt.Errorf("%s is not as it was made", name)
		}
	}
	return nil
}

// makeTemplate makes the template key of the VM, whose guest has just booted. The lock is held. Failing is no failure.
func (s *session) makeTemplate(ctx context.Context, key string) {
	if _, err := os.Lstat(s.Home.TemplateDir(key)); err == nil {
		return
	}
	if s.state(ctx) != Running {
		return
	}
	c, staging, err := s.capture(ctx, Running, "")
	defer s.removeCapture(staging)
	if err != nil || !c.AgentReady {
		return
	}
	for _, name := range c.FileNames() {
		if name == vmm.BaseFile {
			continue
		}
		info, onDisk, err := storage.Finish(ctx, filepath.Join(staging, name))
		if err != nil {
			return
		}
		c.Files[name] = manifest.FileOf(info, storage.Hash{Length: info.Size()})
		c.DiskBytes += onDisk
	}
	c.Network = nil // each VM has its own
	if c.DiskBytes > maxTemplateBytes || checkpoint.Write(staging, c) != nil {
		return
	}
	if storage.Publish(ctx, staging, s.Home.TemplateDir(key)) == nil {
		s.boundTemplates(key, c)
	}
}

// boundTemplates removes what the new template c, called newest, replaces: of the same files, of which some have
// changed. It also removes those that are too many or too large together, the ones used longest ago first.
func (m *Manager) boundTemplates(newest string, c checkpoint.Record) {
	type template struct {
		key   string
		used  time.Time
		bytes int64
	}
	var all []template
	for _, key := range m.Home.Templates() {
		t := template{key: key}
		if info, err := os.Lstat(m.Home.TemplateDir(key)); err == nil {
			t.used = info.ModTime()
		}
		if o, err := checkpoint.ReadAny(m.Home.TemplateDir(key)); err == nil {
			t.bytes = o.DiskBytes
			if key != newest && sameKind(o, c) {
				m.Home.RemoveTemplate(key)
				continue
			}
		}
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b template) int { return cmp.Or(b.used.Compare(a.used), cmp.Compare(a.key, b.key)) })
	bytes := int64(0)
	for i, t := range all {
		if bytes += t.bytes; i >= maxTemplates || bytes > maxTemplateBytes {
			m.Home.RemoveTemplate(t.key)
		}
	}
}

// sameKind reports whether VMs of o and of c were made in the same words, whatever files these meant.
func sameKind(o, c checkpoint.Record) bool {
	a, b := o.Machine, c.Machine
	return o.SourceKernel == c.SourceKernel && o.SourceRootfs == c.SourceRootfs && o.SourceBase == c.SourceBase && a.Driver == b.Driver &&
		a.CPUs == b.CPUs && a.MemMiB == b.MemMiB && a.Base == b.Base && a.DiskMiB == b.DiskMiB && a.Net == b.Net && a.BootArgs == b.BootArgs
}

// DropTemplates removes all templates.
func (m *Manager) DropTemplates() {
	for _, key := range m.Home.Templates() {
		m.Home.RemoveTemplate(key)
	}
}
