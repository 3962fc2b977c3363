package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"noid/internal/manifest"
	"noid/internal/storage"
)

// Load reads the configuration in a VM's directory. None is that of a VM without a network.
func Load(dir string) (Config, error) {
	c := Config{Mode: None}
	path := filepath.Join(dir, ConfigFile)
	data, _, err := manifest.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	if err != nil {
		return Config{Mode: None}, fmt.Errorf("damaged %s: %w", path, err)
	}
	return c, nil
}

// Save replaces the configuration in dir, atomically and durably.
func (c Config) Save(dir string) error {
	data, err := manifest.Encode(c)
	if err != nil {
		return fmt.Errorf("writing %s: %w", ConfigFile, err)
	}
	return storage.WriteFile(filepath.Join(dir, ConfigFile), data, 0o600)
}

// RemoveTemp removes what a killed Save has left in dir; hold the VM's lock.
func RemoveTemp(dir string) { storage.RemoveTemp(filepath.Join(dir, ConfigFile)) }
