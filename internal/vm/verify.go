package vm

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"noid/internal/checkpoint"
	"noid/internal/errs"
	"noid/internal/home"
	"noid/internal/manifest"
)

// Verdict is what Verify found out about a checkpoint.
type Verdict struct {
	checkpoint.Record
	Problem error // nil for a sound one
	Note    string
	Secrets []string // whose values ScanSecrets has found in it
}

// Verify looks at the checkpoint of name that ref means, at all of name with "" for ref, at all of the home with "" for
// both. With readData it reads all of them, else what is cheap. It takes no lock: what is forgotten meanwhile is left
// out, and is errs.ErrNotFound when it was named. progress, if not nil, is told of each large file before it is read,
// length in bytes.
func (m *Manager) Verify(ctx context.Context, name, ref string, readData bool, progress func(c checkpoint.Record, file string, length int64)) ([]Verdict, error) {
	entries, err := m.toVerify(ctx, name, ref)
	if err != nil {
		return nil, err
	}
	var verdicts []Verdict
	for _, e := range entries {
		v := Verdict{Record: e.Record, Problem: e.Err}
		if v.Problem == nil { // a listing may have it of the index
			c, err := m.Home.LoadCheckpoint(e.VM, e.ID)
			if err == nil {
				v.Record = c
				err = m.verify(ctx, c, readData, progress)
			}
			v.Problem = err
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if _, err := os.Lstat(m.Home.CheckpointDir(e.VM, e.ID)); errors.Is(err, fs.ErrNotExist) {
			if ref != "" {
				return nil, errs.New(errs.ErrNotFound, "checkpoint %s@%s was forgotten meanwhile", e.VM, e.ID)
			}
			continue
		}
		if v.Problem == nil && v.Files == nil {
			v.Note = "made by a noid that did not hash: lengths alone"
		}
		verdicts = append(verdicts, v)
	}
	return verdicts, nil
}

// verify is Verify for one checkpoint.
func (m *Manager) verify(ctx context.Context, c checkpoint.Record, readData bool, progress func(checkpoint.Record, string, int64)) error {
	reading := func(file string, length int64) {
		if progress != nil {
			progress(c, file, length)
		}
	}
	err := c.Check(ctx, m.Home.CheckpointDir(c.VM, c.ID), readData, reading)
	if err == nil {
		err = c.CheckSums(m.Home.CheckpointDir(c.VM, c.ID))
	}
	if err == nil {
		c.Boots = m.findBootFiles(&c.Machine, c.Boots)
		err = c.CheckBoots(ctx, readData)
	}
	if damage, ok := errors.AsType[*checkpoint.DamageError](err); ok {
		return damage.Err // whose it is, the verdict says
	}
	return err
}

func (m *Manager) toVerify(ctx context.Context, name, ref string) ([]home.CheckpointEntry, error) {
	if name != "" && ref != "" {
		c, err := m.Home.FindCheckpoint(ctx, name, ref)
		broken, ok := errors.AsType[*manifest.BrokenError](err)
		if ok {
			return []home.CheckpointEntry{{Record: checkpoint.Record{VM: name, ID: filepath.Base(filepath.Dir(broken.Path))}, Err: err}}, nil
		}
		return []home.CheckpointEntry{{Record: c}}, err
	}
	return m.ofOwners(ctx, name, m.Home.ListCheckpoints)
}
