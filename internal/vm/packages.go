package vm

import (
	"cmp"
	"context"
	"encoding/json"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"noid/internal/link/tree"
)

// PackageChange is a package of which another version is installed, or none before, or none after. All is the guest's
// text.
type PackageChange struct {
	Manager       string // dpkg, apk, pip, npm
	Name          string
	Before, After string // versions, "" for none
}

// Bounds of what is read to know packages.
const (
	maxDatabase = 16 << 20 // bytes of a package manager's
	maxManifest = 64 << 10 // bytes of a package.json
	maxRead     = 2_000    // of these
)

// databases are where package managers keep what is installed.
var databases = map[string]string{"/var/lib/dpkg/status": "dpkg", "/lib/apk/db/installed": "apk", "/usr/lib/apk/db/installed": "apk"}

// known are versions by package.
type known map[[2]string]string

// comparePackages finds the packages in the files that differ.
func (c *comparison) comparePackages(ctx context.Context) ([]PackageChange, error) {
	two := [2]known{{}, {}}
	type reading struct {
		manager string
		of      int
		content tree.Content
	}
	var list []asked
	var reads []*reading
	npms := 0 // whose manifests come first, by their paths, and are many
	for _, change := range c.changes {
		for i, f := range []*tree.File{change.Before, change.After} {
			at, name := change.oldAt, cmp.Or(change.From, change.Path)
			if i == 1 {
				at, name = change.newAt, change.Path
			}
			if f == nil {
				continue
			}
			if f.Mode&unix.S_IFMT == unix.S_IFDIR {
				two[i].pip(name)
				continue
			}
			manager, limit := databases[name], int64(maxDatabase)
			if manager == "" && ofNPM(name) {
				manager, limit = "npm", maxManifest
			}
			if manager == "" || f.Mode&unix.S_IFMT != unix.S_IFREG {
				continue
			}
			if manager == "npm" {
				npms++
			}
			if f.Size > limit || npms > maxRead {
				c.cut = true
				continue
			}
			r := &reading{manager: manager, of: i}
			reads = append(reads, r)
			list = append(list, asked{at, name, int(f.Size), &r.content})
		}
	}
	if err := c.ask(ctx, list); err != nil {
		return nil, err
	}
	for _, r := range reads {
		switch r.manager {
		case "dpkg":
			two[r.of].paragraphs("dpkg", string(r.content.Data), "Package: ", "Version: ")
		case "apk":
			two[r.of].paragraphs("apk", string(r.content.Data), "P:", "V:")
		case "npm":
			two[r.of].npm(r.content.Data)
		}
	}
	return two[0].changes(two[1]), nil
}

// changes are what differs from a to b, in the order of managers and names.
func (a known) changes(b known) (list []PackageChange) {
	for key, version := range a {
		if b[key] != version {
			list = append(list, PackageChange{key[0], key[1], version, b[key]})
		}
	}
	for key, version := range b {
		if _, was := a[key]; !was {
			list = append(list, PackageChange{key[0], key[1], "", version})
		}
	}
	slices.SortFunc(list, func(x, y PackageChange) int {
		return cmp.Or(strings.Compare(x.Manager, y.Manager), strings.Compare(x.Name, y.Name))
	})
	return list
}

// paragraphs reads a database of paragraphs with an empty line after each. One of dpkg's that is removed may be there.
func (a known) paragraphs(manager, text, nameIs, versionIs string) {
	for p := range strings.SplitSeq(text, "\n\n") {
		name, version, installed := "", "", true
		for line := range strings.Lines(p) {
			line = strings.TrimRight(line, "\n")
			if s, ok := strings.CutPrefix(line, nameIs); ok {
				name = s
			} else if s, ok := strings.CutPrefix(line, versionIs); ok {
				version = s
			} else if s, ok := strings.CutPrefix(line, "Status: "); ok {
				installed = strings.HasSuffix(s, " installed")
			}
		}
		if name != "" && installed {
			a[[2]string{manager, name}] = version
		}
	}
}

// pip reads the name of a directory in which Python's packages say what they are (PEP 376): NAME-VERSION.dist-info.
func (a known) pip(dir string) {
	base, ok := strings.CutSuffix(path.Base(dir), ".dist-info")
	if at := strings.LastIndexByte(base, '-'); ok && at > 0 {
		a[[2]string{"pip", base[:at]}] = base[at+1:]
	}
}

// ofNPM reports whether a path is that of a package's package.json, which may be in a scope.
func ofNPM(name string) bool {
	dir := path.Dir(name)
	parent := path.Dir(dir)
	if strings.HasPrefix(path.Base(parent), "@") {
		parent = path.Dir(parent)
	}
	return path.Base(name) == "package.json" && path.Base(parent) == "node_modules"
}

func (a known) npm(data []byte) {
	var p struct{ Name, Version string }
	if json.Unmarshal(data, &p) == nil && p.Name != "" {
		a[[2]string{"npm", p.Name}] = p.Version
	}
}
