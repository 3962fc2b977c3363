package vm

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"noid/internal/checkpoint"
	"noid/internal/home"
	"noid/internal/manifest"
	"noid/internal/storage"
	"noid/internal/vmm"
)

// A template is a guest right after its boot, kept so that the next VM of the same kind is restored and not booted. It is what
// take makes of the first VM of its kind, at the moment when the agent answers and before any command has run: Announce does
// that for whoever comes first. It has nobody's identity.

const (
	maxTemplates     = 4       // the ones used last stay
	maxTemplateBytes = 4 << 30 // of disk that all may take, shared blocks included
)

// templateKey names the template of the VMs that o describes: it is another one as soon as anything is that a boot depends on.
func (m *Manager) templateKey(d Driver, o CreateOptions, machine vmm.Machine) (string, error) {
	with, err := d.Stamp()
	if err != nil {
		return "", err
	}
	info, err := os.Stat(o.Rootfs)
	if err != nil {
		return "", err
	}
	rootfs, err := filepath.Abs(o.Rootfs)
	if err != nil {
		return "", err
	}
	// The names of kernel and initrd are made of their contents or of their sources' lengths and times.
	key := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d\x00%d\x00%s\x00%s\x00%s\x00%d\x00%d\x00%s", m.Version, rootfs, info.Size(), info.ModTime().UnixNano(),
		with, machine.KernelPath, machine.InitrdPath, machine.CPUs, machine.MemMiB, machine.BootArgs))
	return fmt.Sprintf("%x", key[:8]), nil
}

// warm makes v of the template key, if there is one that is whole and loads. It is false when v must be booted.
func (m *Manager) warm(ctx context.Context, d Driver, key string, v home.VM) bool {
	dir := m.Home.TemplateDir(key)
	c, err := checkpoint.ReadAny(dir)
	if missing(err) {
		return false
	}
	if err == nil {
		for _, name := range c.FileNames() {
			info, e := os.Lstat(filepath.Join(dir, name))
			if e != nil || !c.Files[name].Untouched(info) {
				err = fmt.Errorf("%s is not as it was made", name)
			}
		}
	}
	if err == nil {
		err = m.loadable(ctx, d, c)
	}
	if err == nil {
		v.WarmFrom = &c.CreatedAt
		err = m.revive(ctx, d, c, dir, &v, home.VM{}, false, nothing)
	}
	if err != nil && ctx.Err() == nil {
		m.Home.RemoveTemplate(key)
		return false
	}
	now := time.Now()
	os.Chtimes(dir, now, now) // its last use
	return err == nil
}

// template makes the template key of v, whose guest has just booted: its VM's lock is held. Failing is no failure.
func (m *Manager) template(ctx context.Context, v home.VM, key string) {
	if _, err := os.Lstat(m.Home.TemplateDir(key)); err == nil {
		return
	}
	d, err := m.Driver(v.Machine.Driver)
	if err != nil || certain(ctx, d, m.Home.VMDir(v.Name), v) != vmm.Running {
		return
	}
	c, staging, err := m.take(ctx, d, v, vmm.Running, "")
	defer m.discard(v.Name, staging)
	if err != nil || !c.AgentReady {
		return
	}
	c.Files = map[string]manifest.File{}
	for _, name := range c.FileNames() {
		path := filepath.Join(staging, name)
		if err := seal(ctx, path); err != nil {
			return
		}
		info, err := os.Lstat(path)
		if err != nil {
			return
		}
		c.Files[name] = manifest.FileOf(info, storage.Hash{Length: info.Size()})
		_, onDisk, err := storage.Usage(path)
		if err != nil {
			return
		}
		c.DiskBytes += onDisk
	}
	if c.DiskBytes > maxTemplateBytes || checkpoint.Write(staging, c) != nil {
		return
	}
	if storage.Publish(ctx, staging, m.Home.TemplateDir(key)) == nil {
		m.boundTemplates(key, c)
	}
}

// boundTemplates removes what the new template c, called newest, replaces: of the same files, of which some have changed. It
// also removes those that are too many or too large together, the ones used longest ago first.
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
			if key != newest && o.SourceKernel == c.SourceKernel && o.SourceRootfs == c.SourceRootfs && o.Machine.Driver == c.Machine.Driver &&
				o.Machine.CPUs == c.Machine.CPUs && o.Machine.MemMiB == c.Machine.MemMiB && o.Machine.BootArgs == c.Machine.BootArgs {
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

// DropTemplates removes all templates.
func (m *Manager) DropTemplates() {
	for _, key := range m.Home.Templates() {
		m.Home.RemoveTemplate(key)
	}
}
