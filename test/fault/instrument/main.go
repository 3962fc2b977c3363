// Command instrument writes the sources of noid's fault-injection build: in each of noid's packages, every call that
// leaves noid for the operating system is wrapped in fault.Wrap. It works in the way of 'go tool cover': the sources
// stay as they are, 'go build -overlay DIR/overlay.json ./cmd/noid' compiles the copies instead.
//
// Calls are found by their types: a function or method of the packages that lead outside (see outside) that is not
// known to look only (see looks). So a call that nobody thought of is wrapped too.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	// module is what the paths of noid's own packages begin with.
	module = "noid/"
	// target is the command that is built.
	target = "noid/cmd/noid"
	// overlayFile is what 'go build -overlay' wants, in the directory of the copies.
	overlayFile = "overlay.json"
)

// exempt are packages of noid's that are left as they are, with the reason. A package without steps need not be here.
var exempt = map[string]string{
	"noid/internal/confine": "a thread that may write nowhere cannot note that something happened; the whole of it is a step",
	"noid/internal/kvm":     "its probe is timed, and makes nothing that lasts",
}

func main() {
	out := flag.String("o", "", "directory to write to")
	flag.Parse()
	if *out == "" || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "usage: instrument -o DIR")
		os.Exit(2)
	}
	if err := instrument(*out); err != nil {
		fmt.Fprintln(os.Stderr, "instrument:", err)
		os.Exit(1)
	}
}

// instrument writes the copies of what target links to dir. Copies of an earlier run that are no longer wanted stay:
// the overlay does not name them.
func instrument(dir string) error {
	packages, err := list(target)
	if err != nil {
		return err
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return err
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	exports := exportsOf(packages)
	for _, p := range packages {
		if !strings.HasPrefix(p.ImportPath, module) || exempt[p.ImportPath] != "" {
			continue
		}
		files, err := rewrite(p, exports)
		if err != nil {
			return fmt.Errorf("%s: %w", p.ImportPath, err)
		}
		for path, source := range files {
			written := filepath.Join(dir, strings.TrimPrefix(p.ImportPath, module), filepath.Base(path))
			if err := os.MkdirAll(filepath.Dir(written), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(written, source, 0o644); err != nil {
				return err
			}
			overlay.Replace[path] = written
		}
	}
	data, err := json.MarshalIndent(overlay, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, overlayFile), data, 0o644)
}

// listed is what 'go list' says of a package.
type listed struct {
	ImportPath string
	Dir        string
	Export     string // the file with the types of what it exports
	GoFiles    []string
}

// list returns the packages and all that they import, compiled, so that their types can be read.
func list(packages ...string) ([]listed, error) {
	args := append([]string{"list", "-deps", "-export", "-json=ImportPath,Dir,Export,GoFiles", "--"}, packages...)
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as noid is built: other files are compiled with cgo
	cmd.Stderr = os.Stderr
	data, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var all []listed
	for d := json.NewDecoder(bytes.NewReader(data)); ; {
		var p listed
		if err := d.Decode(&p); err == io.EOF {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		all = append(all, p)
	}
}

// exportsOf returns the export file of each package.
func exportsOf(packages []listed) map[string]string {
	files := map[string]string{}
	for _, p := range packages {
		files[p.ImportPath] = p.Export
	}
	return files
}
