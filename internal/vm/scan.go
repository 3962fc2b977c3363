package vm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"noid/internal/checkpoint"
	"noid/internal/errs"
	"noid/internal/secret"
)

// ScanSecrets looks in all files of the checkpoints of verdicts for the values of the home's secrets, notes the names of
// those it finds, and makes them a problem. A value that cannot be had is an error: nothing is proved without it.
// progress, if not nil, is told of each file before it is read.
func (m *Manager) ScanSecrets(ctx context.Context, verdicts []Verdict, progress func(c checkpoint.Record, file string)) error {
	store := secret.Store{Dir: m.Home.Dir()}
	secrets, err := store.List()
	values := map[string]string{}
	for _, s := range secrets {
		g, problem := store.Grant(ctx, s.Name)
		err = errs.Join(append(errs.List(err), problem)...)
		values[s.Name] = g.Value
	}
	if err != nil {
		return err
	}
	scanner := secret.NewScanner(values)
	for i := range verdicts {
		if err := m.scan(ctx, &verdicts[i], scanner, progress); err != nil {
			return err
		}
	}
	return nil
}

// scan is ScanSecrets for one checkpoint, also for a damaged one.
func (m *Manager) scan(ctx context.Context, v *Verdict, s *secret.Scanner, progress func(checkpoint.Record, string)) error {
	dir := m.Home.CheckpointDir(v.VM, v.ID)
	entries, err := os.ReadDir(dir)
	var in []string
	for _, e := range entries {
		if err != nil {
			break
		}
		if progress != nil {
			progress(v.Record, e.Name())
		}
		file, scan := e.Name(), s.Scan
		if content, ok := strings.CutSuffix(file, checkpoint.TableFile("")); ok {
			file, scan = content, func(ctx context.Context, _ string) ([]string, error) { return scanContent(ctx, dir, content, s) }
		}
		var names []string
		if names, err = scan(ctx, filepath.Join(dir, e.Name())); len(names) > 0 {
			v.Secrets = append(v.Secrets, names...)
			in = append(in, file)
		}
	}
	switch _, gone := os.Lstat(dir); {
	case errors.Is(gone, fs.ErrNotExist): // forgotten meanwhile
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		v.addProblem(fmt.Errorf("looking for secrets: %w", err))
	}
	if v.Secrets != nil {
		slices.Sort(v.Secrets)
		v.Secrets = slices.Compact(v.Secrets)
		v.addProblem(fmt.Errorf("%s has the value of %s", strings.Join(in, ", "), strings.Join(v.Secrets, ", ")))
	}
	return nil
}

// scanContent looks into what is in the pack, for the content called name of the checkpoint in dir.
func scanContent(ctx context.Context, dir, name string, s *secret.Scanner) ([]string, error) {
	content, err := checkpoint.OpenContent(dir, name)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	return s.ScanRuns(ctx, content, content.Runs())
}

func (v *Verdict) addProblem(err error) {
	if v.Problem != nil {
		err = fmt.Errorf("%w; %w", v.Problem, err)
	}
	v.Problem = err
}
