package cli

import (
	"time"

	"noid/internal/vm"
)

// diffJSON is what diff --json prints.
type diffJSON struct {
	From    string       `json:"from"`
	To      string       `json:"to"`
	Changes []changeJSON `json:"changes"`
	Folded  int          `json:"folded"` // changes that --all shows
	Cut     bool         `json:"cut"`    // there are more than these
	// With --processes and --packages alone.
	Processes []processChangeJSON `json:"processes,omitempty"`
	Packages  []packageChangeJSON `json:"packages,omitempty"`
}

// processChangeJSON is a process that came (no before), went (no after), or is another under the same id.
type processChangeJSON struct {
	Before *vm.Process `json:"before,omitempty"`
	After  *vm.Process `json:"after,omitempty"`
}

type packageChangeJSON struct {
	Manager string `json:"manager"`
	Name    string `json:"name"`
	Before  string `json:"before,omitempty"` // versions
	After   string `json:"after,omitempty"`
}

type changeJSON struct {
	Kind   string    `json:"kind"` // added, removed, changed, renamed
	Path   string    `json:"path"`
	Was    string    `json:"was,omitempty"` // the old path of a renamed one
	What   []string  `json:"what,omitempty"`
	Before *fileJSON `json:"before,omitempty"`
	After  *fileJSON `json:"after,omitempty"`
}

type fileJSON struct {
	Mode     string    `json:"mode"` // as ls shows it
	UID      uint32    `json:"uid"`
	GID      uint32    `json:"gid"`
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
	Target   string    `json:"target,omitempty"`
}

func diffToJSON(before, after vm.Moment, d vm.Diff) diffJSON {
	j := diffJSON{From: before.String(), To: after.String(), Changes: []changeJSON{}, Folded: d.Folded, Cut: d.Cut}
	for _, c := range d.Changes {
		j.Changes = append(j.Changes, changeJSON{string(c.Kind), c.Path, c.From, c.What, fileToJSON(c.Before), fileToJSON(c.After)})
	}
	for _, p := range d.Processes {
		j.Processes = append(j.Processes, processChangeJSON(p))
	}
	for _, p := range d.Packages {
		j.Packages = append(j.Packages, packageChangeJSON(p))
	}
	return j
}

func fileToJSON(f *vm.File) *fileJSON {
	if f == nil {
		return nil
	}
	at := time.Unix(0, f.Mtime).UTC() // of the years that RFC 3339 has: it is an int64 of ns
	return &fileJSON{modeText(f.Mode), f.UID, f.GID, f.Size, at, f.Target}
}
