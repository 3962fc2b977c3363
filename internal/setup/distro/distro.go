// Package distro knows Linux distributions: which one this host runs, and what one types there to install something.
package distro

import (
	"os"
	"slices"
	"strings"
)

// Release is a distribution, as os-release(5) describes it.
type Release struct {
	Name string   // for people: "Debian GNU/Linux 12 (bookworm)"
	IDs  []string // its own, then those of the distributions that it is like: "ubuntu", "debian"
}

// Read returns this host's. It is empty where the host does not tell.
func Read() Release {
	for _, path := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		if text, err := os.ReadFile(path); err == nil {
			return Parse(string(text))
		}
	}
	return Release{}
}

// Parse reads the text of os-release.
func Parse(text string) Release {
	values := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			values[key] = strings.Trim(value, `"'`)
		}
	}
	ids := slices.DeleteFunc(append([]string{values["ID"]}, strings.Fields(values["ID_LIKE"])...), func(id string) bool { return id == "" })
	return Release{Name: values["PRETTY_NAME"], IDs: ids}
}
