package home

import (
	"os"
	"path/filepath"

	"noid/internal/storage"
)

// TemplateDir is where the template called key is, as a checkpoint that belongs to no VM.
func (h *Home) TemplateDir(key string) string { return filepath.Join(h.TemplatesRoot(), key) }

// TemplatesRoot is where all templates are.
func (h *Home) TemplatesRoot() string { return filepath.Join(h.dir, StorageDir, templatesDir) }

// Templates returns the keys of all templates.
func (h *Home) Templates() (keys []string) {
	names, _ := subdirs(h.TemplatesRoot())
	for _, name := range names {
		if !isStaging(name) {
			keys = append(keys, name)
		}
	}
	return keys
}

// RemoveTemplate renames a template out of its place and deletes it. VMs keep what they have of it. Sweep does what
// is left undone.
func (h *Home) RemoveTemplate(key string) {
	old := filepath.Join(h.TemplatesRoot(), oldPrefix+NewID(nil))
	if os.Rename(h.TemplateDir(key), old) == nil {
		storage.RemoveAll(old)
	}
}

// sweepTemplates removes what RemoveTemplate had no time for. Nobody makes a template in its own directory.
func (h *Home) sweepTemplates() error {
	names, err := subdirs(h.TemplatesRoot())
	if err != nil {
		return nil // there are none
	}
	for _, name := range names {
		if isStaging(name) {
			if err := storage.RemoveAll(filepath.Join(h.TemplatesRoot(), name)); err != nil {
				return err
			}
		}
	}
	return nil
}
