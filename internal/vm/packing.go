package vm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"noid/internal/checkpoint"
	"noid/internal/manifest"
	"noid/internal/pack"
	"noid/internal/storage"
	"noid/internal/untrusted"
	"noid/internal/vmm"
)

// packing puts a VM's memory and own disk into the pack of its checkpoints, in place of clones of their files. What has
// changed since the checkpoint before it finds by comparison: nothing that a kernel or a VMM tells of a mapped file is
// exact (a page's soft-dirty bit goes when the page is reclaimed).
type packing struct {
	pack   *pack.Pack
	drafts map[string]*pack.Draft // by the content's name
	files  map[string]*os.File    // likewise, what is read
	like   checkpoint.Record      // what it has most in common with, or the zero one
}

// canPack reports whether a checkpoint of the VM is better packed: its files would be copied else. To try reflinks
// takes a write to the disk: it is done only where the file system's type does not tell.
func (s *session) canPack(staging string) bool {
	switch storage.FSType(staging) {
	case "btrfs":
		return false
	case "ext4", "tmpfs":
		return true
	}
	shares, err := storage.Reflinks(staging)
	return err == nil && !shares
}

// newPacking begins to pack c. The caller ends it.
func (s *session) newPacking(ctx context.Context, c checkpoint.Record) (p *packing, err error) {
	p = &packing{drafts: map[string]*pack.Draft{}, files: map[string]*os.File{}}
	defer func() {
		if err != nil {
			p.end(false)
		}
	}()
	if p.pack, err = pack.Append(s.Home.CheckpointsDir(c.VM)); err != nil {
		return p, err
	}
	p.like = s.alike(ctx, c)
	err = p.draft(s, vmm.RootfsFile, s.file(vmm.RootfsFile))
	if err == nil && c.Memory && s.driver.Traits().MemoryFile {
		err = p.draft(s, vmm.MemorySnap, s.driver.MemorySource(s.dir))
	}
	return p, err
}

// draft begins the content called name, of the file at path.
func (p *packing) draft(s *session, name, path string) error {
	f, err := untrusted.Open(filepath.Dir(path), filepath.Base(path), os.O_RDONLY)
	if err != nil {
		return err
	}
	p.files[name] = f
	table, sums := s.packed(p.like, name)
	d, err := p.pack.Draft(f, table, sums)
	if err != nil {
		return err
	}
	p.drafts[name] = d
	return nil
}

// alike returns the packed checkpoint of the VM that c has most in common with: its parent, else the newest.
func (s *session) alike(ctx context.Context, c checkpoint.Record) checkpoint.Record {
	if parent := s.parent(c); parent.Packed && parent.VM == c.VM {
		return parent
	}
	list, _ := s.Home.CheckpointLabels(ctx, c.VM)
	for _, e := range slices.Backward(list) {
		if other, err := s.Home.LoadCheckpoint(c.VM, e.ID); err == nil && other.Packed {
			return other
		}
	}
	return checkpoint.Record{}
}

// packed is the table and the hash of the content called name of like. Both are zero where like has none, or it cannot
// be read.
func (s *session) packed(like checkpoint.Record, name string) (pack.Table, storage.Hash) {
	if _, ok := like.Files[name]; !ok || !like.InPack(name) {
		return pack.Table{}, storage.Hash{}
	}
	dir := s.Home.CheckpointDir(like.VM, like.ID)
	sums, err := like.SavedSums(dir, name)
	if err != nil {
		return pack.Table{}, storage.Hash{}
	}
	content, err := like.Content(dir, name)
	if err != nil {
		return pack.Table{}, storage.Hash{}
	}
	defer content.Close()
	if _, lacks := content.Lacks(); lacks {
		return pack.Table{}, storage.Hash{}
	}
	return content.Table, sums
}

// look packs what has changed while the guest runs, so that less is left for its pause.
func (p *packing) look(ctx context.Context) error {
	return p.each(func(name string, d *pack.Draft) error { return d.Read(ctx) })
}

// hold takes, in the pause, what has changed since.
func (p *packing) hold(ctx context.Context) error {
	return p.each(func(name string, d *pack.Draft) error { return d.Hold(ctx) })
}

// settle puts what hold has taken into the pack, when the guest runs again, and the memory that the VMM has written into
// a file of its own. All of it is on disk then.
func (p *packing) settle(ctx context.Context, s *session, c checkpoint.Record) error {
	err := p.each(func(_ string, d *pack.Draft) error { return d.Settle(ctx) })
	if err == nil && c.Memory && !s.driver.Traits().MemoryFile {
		if err = p.draft(s, vmm.MemorySnap, s.driver.MemorySource(s.dir)); err == nil {
			err = p.drafts[vmm.MemorySnap].Read(ctx)
		}
	}
	if err == nil {
		err = p.pack.Sync(ctx)
	}
	return err
}

func (p *packing) each(do func(name string, d *pack.Draft) error) error {
	for name, d := range p.drafts {
		if err := do(name, d); err != nil {
			return err
		}
	}
	return nil
}

// write writes the table of the content called name to dir, and notes both in c. It returns how many bytes of the pack
// the content has.
func (p *packing) write(ctx context.Context, dir, name string, c *checkpoint.Record) (storage.Hash, int64, error) {
	table, hash := p.drafts[name].Table(), p.drafts[name].Hash()
	file := checkpoint.TableFile(name)
	if err := os.WriteFile(filepath.Join(dir, file), table.Encode(), 0o400); err != nil {
		return hash, 0, storage.Explain(err, filepath.Join(dir, file))
	}
	sum, err := checkpoint.HashFile(ctx, filepath.Join(dir, file))
	c.Files[file] = sum
	c.Files[name] = manifest.File{Length: hash.Length, Sum: hash.Root(), Chunk: hash.Chunk}
	return hash, table.Bytes(), err
}

// end closes what is open. Unless the checkpoint is published, it takes back what was appended.
func (p *packing) end(published bool) error {
	var err error
	for _, d := range p.drafts {
		d.Close()
	}
	for _, f := range p.files {
		f.Close()
	}
	if p.pack != nil {
		if !published {
			err = p.pack.Undo()
		}
		err = errors.Join(err, p.pack.Close())
	}
	return err
}
