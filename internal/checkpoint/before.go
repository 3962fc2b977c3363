package checkpoint

import (
	"encoding/json"
	"os"
	"path/filepath"

	"noid/internal/storage"
)

// beforeFile is in the directory of a VM's checkpoints. It tells what came before those of them that were forgotten.
const beforeFile = "before.json"

// Before has, for a checkpoint that was forgotten, the nearest one before it that was not: both by their ids.
type Before map[string]string

// LoadBefore returns what dir, the directory of a VM's checkpoints, has. What cannot be read is as nothing: then what
// came before a forgotten checkpoint is not known.
func LoadBefore(dir string) Before {
	b := Before{}
	if data, err := os.ReadFile(filepath.Join(dir, beforeFile)); err == nil && json.Unmarshal(data, &b) != nil {
		return Before{}
	}
	return b
}

// Nearest returns id if there is says so, else the nearest one before it that is there, or "".
func (b Before) Nearest(id string, there func(id string) bool) string {
	for range len(b) + 1 { // what a damaged file says may go round
		if id == "" || there(id) {
			return id
		}
		id = b[id]
	}
	return ""
}

// Save writes b to dir, or removes what is there if b is empty. The VM's lock is held.
func (b Before) Save(dir string) error {
	if len(b) == 0 {
		removeBefore(dir)
		return nil
	}
	data, err := json.Marshal(b)
	if err != nil {
		return err
	}
	storage.RemoveTemp(filepath.Join(dir, beforeFile))
	return storage.WriteFile(filepath.Join(dir, beforeFile), append(data, '\n'), 0o600)
}

func removeBefore(dir string) {
	storage.RemoveTemp(filepath.Join(dir, beforeFile))
	os.Remove(filepath.Join(dir, beforeFile))
}
