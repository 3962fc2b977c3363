package cli

import (
	"fmt"

	"noid/internal/untrusted"
	"noid/internal/vm"
)

// maxCommand is how many characters of a guest's command a line shows.
const maxCommand = 200

// printProcesses prints a line for each process that came or went: two for one that is another under the same id.
func (a *app) printProcesses(list []vm.ProcessChange) {
	for _, c := range list {
		for i, p := range []*vm.Process{c.Before, c.After} {
			if p != nil {
				fmt.Fprintf(a.out, "%c %7d %5d %s\n", "DA"[i], p.PID, p.UID, untrusted.Line(p.Command, maxCommand))
			}
		}
	}
}

// printPackages prints a line for each package.
func (a *app) printPackages(list []vm.PackageChange) {
	for _, p := range list {
		letter, version := "M", p.Before+" => "+p.After
		if p.Before == "" {
			letter, version = "A", p.After
		} else if p.After == "" {
			letter, version = "D", p.Before
		}
		fmt.Fprintf(a.out, "%s %-4s %s %s\n", letter, p.Manager, untrusted.Line(p.Name, maxCommand), untrusted.Line(version, maxCommand))
	}
}
