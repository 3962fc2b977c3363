package vm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"

	"noid/internal/checkpoint"
	"noid/internal/errs"
	"noid/internal/home"
	"noid/internal/manifest"
	"noid/internal/storage"
	"noid/internal/vmm"
)

// maxLabel is how many bytes a label may have.
const maxLabel = 200

// checkLabel accepts a checkpoint's label, which people read and type, or returns errs.ErrUsage.
func checkLabel(label string) error {
	notText := func(r rune) bool { return !unicode.IsGraphic(r) }
	if label == Now {
		return errs.New(errs.ErrUsage, "not a label: %q, which is a vm as it is at this moment", label).Hint("choose another")
	}
	if len(label) > maxLabel || label != "" && strings.TrimSpace(label) == "" || !utf8.ValidString(label) || strings.ContainsFunc(label, notText) {
		return errs.New(errs.ErrUsage, "not a label: %.60q", label).
			Hint(fmt.Sprintf("a label is one line of text, at most %d bytes of UTF-8", maxLabel))
	}
	return nil
}

// Checkpoint keeps memory, CPU and disk of a running or paused VM. A running VM runs on afterwards, whatever failed. A
// label of more than 200 bytes, or that is not one line of UTF-8, is errs.ErrUsage.
func (m *Manager) Checkpoint(ctx context.Context, name, label string) (checkpoint.Record, error) {
	if err := checkLabel(label); err != nil {
		return checkpoint.Record{}, err
	}
	if err := m.beginFilling(ctx, "checkpoint"); err != nil {
		return checkpoint.Record{}, err
	}
	s, err := m.open(ctx, name, "checkpoint")
	if err != nil {
		return checkpoint.Record{}, err
	}
	defer s.close()
	st, err := s.up(ctx)
	if err != nil {
		return checkpoint.Record{}, err
	}
	c, err := s.checkpoint(ctx, st, checkpoint.Record{Label: label})
	if err == nil && label != "" {
		s.warnLabel(ctx, label)
	}
	return c, s.explain(err)
}

// warnLabel says that a label which has just been given is of no use any more: it means several checkpoints.
func (s *session) warnLabel(ctx context.Context, label string) {
	ids, err := s.Home.CheckpointsLabelled(ctx, s.vm.Name, label)
	if err == nil && len(ids) > 1 {
		s.warn(fmt.Sprintf("%d checkpoints of vm %q have the label %q now: name them by their ids, %s", len(ids), s.vm.Name, label,
			strings.Join(ids[max(0, len(ids)-maxNamed):], ", ")))
	}
}

// checkpoint does the work for Checkpoint and for those that noid makes by itself. Of a VM that does not run it keeps
// the disk alone. about has the label, the cause, and the id or none.
func (s *session) checkpoint(ctx context.Context, st State, about checkpoint.Record) (checkpoint.Record, error) {
	if len(s.vm.Redo) > 0 && !s.isUntouched(s.vm) { // there is nothing to redo in a VM that has changed
		s.vm.Redo = nil
		if err := s.save(); err != nil {
			return checkpoint.Record{}, s.errorf("checkpoint of", err)
		}
	}
	beginMark(s.dir)
	c, staging, settle, err := s.captureAhead(ctx, st, about.Label, true)
	c.ID, c.Cause, c.Untouched = cmp.Or(about.ID, c.ID), about.Cause, about.Untouched
	if err == nil {
		err = s.publishCheckpoint(ctx, staging, &c, settle)
	}
	if err != nil {
		os.Remove(s.file(markFile))
		s.removeCapture(staging)
		if errors.Is(err, errs.ErrState) && s.driver.WhyPaused(s.dir) != "" { // a VMM that waits for space saves nothing
			return c, s.paused()
		}
		return c, s.errorf("checkpoint of", err)
	}
	if s.packing != nil {
		s.packing.end(true)
	}
	if err := noteLast(s.dir, c.VM+"@"+c.ID); err != nil {
		s.warn(fmt.Sprintf("vm %q does not know its last checkpoint %s: %v", s.vm.Name, c.ID, err))
		s.touch() // or an undo would go back too far
	}
	endMark(s.dir, s.vm.Process)
	if s.Made != nil {
		s.Made(c)
	}
	return c, nil
}

// lastFile is a link in a VM's directory whose target names the checkpoint, "vm@id", that was made of it last. The
// next checkpoint reuses that one's sums, and undo goes to it or to the one before. Without the link the last one is what
// the VM was restored from.
const lastFile = "checkpoint.last"

// last returns the checkpoint that the VM has most in common with.
func (s *session) last() string { return lastOf(s.dir, s.vm) }

func lastOf(dir string, v home.VM) string {
	if ref, err := os.Readlink(filepath.Join(dir, lastFile)); err == nil && ref != "" {
		return ref
	}
	return v.RestoredFrom
}

func noteLast(dir, ref string) error {
	link := filepath.Join(dir, lastFile)
	os.Remove(link + ".new")
	if err := os.Symlink(ref, link+".new"); err != nil {
		return err
	}
	return os.Rename(link+".new", link)
}

// publishCheckpoint records sizes and sums of what captureAhead made, makes the files read-only and publishes them, all
// but the last beside a guest that hears that it runs again. When it returns, settle has been called.
func (s *session) publishCheckpoint(ctx context.Context, staging string, c *checkpoint.Record, settle func() error) error {
	err := s.finishCheckpoint(ctx, staging, c)
	if late := settle(); late != nil && !errors.Is(err, context.Canceled) {
		err = late
	}
	if err != nil {
		return err
	}
	return storage.Publish(ctx, staging, s.Home.CheckpointDir(c.VM, c.ID))
}

// finishCheckpoint is publishCheckpoint up to the new name.
func (s *session) finishCheckpoint(ctx context.Context, staging string, c *checkpoint.Record) error {
	var sums [][]byte
	parent := s.parent(*c)
	parentDir := s.Home.CheckpointDir(parent.VM, parent.ID)
	if c.Packed {
		if err := s.packing.settle(ctx, s, *c); err != nil {
			return err
		}
	}
	for _, name := range c.Contents() {
		if name == vmm.BaseFile {
			continue
		}
		var hash storage.Hash
		var onDisk int64
		var err error
		if c.InPack(name) {
			hash, onDisk, err = s.packing.write(ctx, staging, name, c)
		} else {
			written := name == vmm.MemorySnap && !s.driver.Traits().MemoryFile
			hash, onDisk, err = finishFile(ctx, staging, name, c, parent, parentDir, written)
		}
		if err != nil {
			return err
		}
		sums = append(sums, storage.SumBytes(hash.Chunks))
		switch name {
		case vmm.RootfsFile:
			c.DiskLength, c.DiskBytes = hash.Length, onDisk
		case vmm.MemorySnap:
			c.MemoryLength, c.MemoryBytes = hash.Length, onDisk
		case vmm.StateSnap:
			c.StateLength, c.StateBytes = hash.Length, onDisk
		}
	}
	if err := storage.WriteLike(ctx, filepath.Join(staging, checkpoint.SumsFile), filepath.Join(parentDir, checkpoint.SumsFile), sums); err != nil {
		return err
	}
	return checkpoint.Write(staging, *c)
}

// finishFile makes the file called name of c, in dir, read-only and notes it in c. In one that the VMM has written, and
// synced, what the guest has given back is zeros: they become holes. (Of a file that the VM goes on with c has a clone,
// in which zeros cost nothing, and holes would be compared with zeros each time.)
func finishFile(ctx context.Context, dir, name string, c *checkpoint.Record, parent checkpoint.Record, parentDir string, written bool) (hash storage.Hash, onDisk int64, err error) {
	path := filepath.Join(dir, name)
	if written {
		if hash, err = hashLike(ctx, path, parent, parentDir); err != nil {
			return hash, 0, err
		}
		if err = storage.PunchZeros(ctx, path, hash); err != nil {
			return hash, 0, err
		}
	}
	info, onDisk, err := storage.Finish(ctx, path)
	if err == nil && !written {
		hash, err = hashLike(ctx, path, parent, parentDir)
	}
	if err != nil {
		return hash, 0, err
	}
	c.Files[name] = manifest.FileOf(info, hash)
	return hash, onDisk, nil
}

// parent returns the checkpoint that c shares most with, the zero one when it is gone.
func (s *session) parent(c checkpoint.Record) checkpoint.Record {
	name, id, _ := strings.Cut(c.Parent, "@")
	parent, err := s.Home.LoadCheckpoint(name, id)
	if err != nil {
		return checkpoint.Record{}
	}
	return parent
}

// hashLike hashes the file path of a new checkpoint, and reads only what it does not share with the parent's file of
// that name.
func hashLike(ctx context.Context, path string, parent checkpoint.Record, parentDir string) (storage.Hash, error) {
	name := filepath.Base(path)
	if _, ok := parent.Files[name]; ok {
		if sums, err := parent.SavedSums(parentDir, name); err == nil {
			return storage.HashLike(ctx, path, filepath.Join(parentDir, name), sums)
		}
	}
	return storage.HashFile(ctx, path, 0)
}
