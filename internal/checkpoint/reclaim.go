package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"noid/internal/pack"
	"noid/internal/storage"
)

// Reclaim gives back what the pack in dir, the directory of a VM's checkpoints, has and no checkpoint in it needs, and
// removes dir with its pack if it has none. The VM's lock is held. gone are the checkpoints that were taken out of dir,
// by id the directories where they are now; without any, it looks at all of the pack. While a table cannot be read, all
// stays: nobody knows what it needs.
func Reclaim(dir string, gone map[string]string) error {
	if _, err := os.Lstat(filepath.Join(dir, pack.File)); errors.Is(err, fs.ErrNotExist) {
		if ids, _, err := list(dir); err == nil && len(ids) == 0 {
			removeBefore(dir)
		}
		os.Remove(dir) // when it is empty
		return nil
	}
	ids, files, err := list(dir)
	if err != nil {
		return err
	}
	if _, id, ok := whole(dir); ok && !slices.Contains(ids, id) {
		DropWhole(dir)
	}
	dropStrays(dir, files)
	if len(ids) == 0 {
		pack.RemoveCounts(dir)
		removeBefore(dir)
		if err := os.Remove(filepath.Join(dir, pack.File)); err != nil {
			return err
		}
		os.Remove(dir)
		return nil
	}
	if err := storage.SyncDir(dir); err != nil { // a checkpoint that a power cut brings back lacks what is given back
		return err
	}
	used, tables, err := count(dir, ids, gone)
	if err != nil {
		return fmt.Errorf("what no checkpoint needs any more stays in %s: %w", filepath.Join(dir, pack.File), err)
	}
	p, err := pack.Append(dir)
	if err != nil {
		return err
	}
	defer p.Close()
	if err := p.Reclaim(used, tables); err != nil {
		return err
	}
	if used.Save(dir, ids) != nil { // on a full disk: the next time all is counted
		pack.RemoveCounts(dir)
	}
	return nil
}

// list returns the names of the directories in dir, which are checkpoints' ids, and of all else.
func list(dir string) (ids, files []string, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			ids = append(ids, e.Name())
		} else {
			files = append(files, e.Name())
		}
	}
	return ids, files, err
}

// maxFree is of how many tables it is known at once what they leave: more cost less by a look at all of the pack.
const maxFree = 64

// count counts what the checkpoints ids in dir need, and returns the tables of gone. It has none of these when anything
// else may have become free too. What was counted before it does not read again.
func count(dir string, ids []string, gone map[string]string) (used *pack.Counts, free []pack.Table, err error) {
	used, of := pack.LoadCounts(dir)
	known, counted := used != nil, setOf(of)
	for id, path := range gone {
		tables, err := Tables(path)
		if known = known && err == nil; !known {
			break
		}
		if len(gone) <= maxFree {
			free = append(free, tables...)
		}
		if counted[id] {
			delete(counted, id)
			for _, t := range tables {
				used.Remove(t)
			}
		}
	}
	here := setOf(ids)
	for id := range counted {
		known = known && here[id] // else somebody has removed it, and nobody knows what it needed
	}
	if !known {
		used, counted, free = &pack.Counts{}, nil, nil
	}
	for _, id := range ids {
		if counted[id] {
			continue
		}
		tables, err := Tables(filepath.Join(dir, id))
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", id, err)
		}
		for _, t := range tables {
			used.Add(t)
		}
	}
	return used, free, nil
}

func setOf(names []string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, name := range names {
		set[name] = true
	}
	return set
}
