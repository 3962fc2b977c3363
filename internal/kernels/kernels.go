// Package kernels owns the kernels that a home keeps by name, each in a directory of its own, laid out as in a package:
// boot/vmlinuz-VERSION, lib/modules/VERSION, and a record. There package boot finds a kernel's modules.
package kernels

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"noid/internal/boot"
	"noid/internal/errs"
	"noid/internal/lazy"
	"noid/internal/storage"
)

// recordFile is what Import notes of a kernel, in its directory. 'noid setup' of older noids made none.
const recordFile = "kernel.json"

// record is the content of recordFile.
type record struct {
	Source string   `json:"source"` // the path of the file that was imported, or words where that is gone
	Lacks  []string `json:"lacks"`  // see boot.Lacks
}

// Kernel is one that the home keeps.
type Kernel struct {
	Name    string   `json:"name"`
	Path    string   `json:"path"` // of the kernel's file
	Version string   `json:"version"`
	Arch    string   `json:"arch"`
	Format  string   `json:"format"`
	Modules bool     `json:"modules"` // it has modules
	Lacks   []string `json:"lacks"`   // what noid could make use of, a line each
	Source  string   `json:"source,omitempty"`
	Broken  string   `json:"broken,omitempty"` // why it cannot be used; "" if it can
}

var cleanName = lazy.Regexp(`^[0-9A-Za-z][0-9A-Za-z._+~-]{0,62}$`)

// checkName accepts the name of a kernel or returns errs.ErrUsage. An accepted name is safe as an element of a path.
func checkName(name string) error {
	if cleanName().MatchString(name) {
		return nil
	}
	return errs.New(errs.ErrUsage, "not a name for a kernel: %.80q", name).
		Hint("a name has 1 to 63 letters, digits, '_', '.', '+', '~' and '-', and begins with a letter or digit")
}

// Path returns the path that word, of a user, stands for: that of the kernel in dir whose name it is, or word itself.
func Path(dir, word string) string {
	if checkName(word) != nil {
		return word
	}
	if path := file(dir, word); path != "" {
		return path
	}
	return word
}

// file returns the path of the kernel called name, "" where there is none.
func file(dir, name string) string {
	bootDir := filepath.Join(dir, name, "boot")
	entries, _ := os.ReadDir(bootDir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "vmlinuz-") {
			return filepath.Join(bootDir, e.Name())
		}
	}
	return ""
}

// Names returns the names of the kernels in dir, sorted.
func Names(dir string) (names []string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() && checkName(e.Name()) == nil && file(dir, e.Name()) != "" {
			names = append(names, e.Name())
		}
	}
	return names
}

// List returns the kernels in dir, sorted by name. One that cannot be used is listed as broken.
func List(dir string) []Kernel {
	list := []Kernel{}
	for _, name := range Names(dir) {
		list = append(list, load(dir, name))
	}
	return list
}

func load(dir, name string) Kernel {
	k := Kernel{Name: name, Path: file(dir, name), Lacks: []string{}}
	found, err := boot.InspectKernel(k.Path)
	if err != nil {
		k.Broken = err.Error()
	}
	k.Version, k.Arch, k.Format = found.Version, found.Arch, string(found.Format)
	k.Modules = strings.HasPrefix(boot.FindModules(k.Path, k.Version), filepath.Join(dir, name)+"/")
	var r record
	if text, err := os.ReadFile(filepath.Join(dir, name, recordFile)); err == nil && json.Unmarshal(text, &r) == nil {
		k.Source = r.Source
		k.Lacks = append(k.Lacks, r.Lacks...)
	}
	return k
}

// CheckExists accepts the name of a kernel in dir. Any other is errs.ErrNotFound.
func CheckExists(dir, name string) error {
	if slices.Contains(Names(dir), name) {
		return nil
	}
	return errs.New(errs.ErrNotFound, "no kernel %.80q", name).Hint("'noid kernel ls' lists them")
}

// Sweep removes what a killed Import or Remove has left in dir.
func Sweep(dir string) {
	if _, done, err := storage.WorkDir(dir); err == nil { // its first work
		done()
	}
}

// Remove removes the kernel called name from dir. errs.ErrNotFound is that there is none. Killed meanwhile, it has
// removed it whole or not at all.
func Remove(dir, name string) error {
	if err := CheckExists(dir, name); err != nil {
		return err
	}
	work, done, err := storage.WorkDir(dir)
	if err != nil {
		return err
	}
	defer done()
	err = os.Rename(filepath.Join(dir, name), filepath.Join(work, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // another noid was faster
	}
	return err
}
