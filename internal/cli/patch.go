package cli

import (
	"fmt"
	"strings"

	"github.com/aymanbagabas/go-udiff"

	"noid/internal/untrusted"
	"noid/internal/vm"
)

// printPatch prints what differs as git does: of texts the lines, of all else a line.
func (a *app) printPatch(d vm.Diff) {
	for _, c := range d.Changes {
		fmt.Fprintln(a.out, changeLine(c))
		if c.Old == nil && c.New == nil {
			continue
		}
		from, to := "/dev/null", "/dev/null"
		if c.Before != nil {
			from = "a" + name(c.Path)
			if c.From != "" {
				from = "a" + name(c.From)
			}
		}
		if c.After != nil {
			to = "b" + name(c.Path)
		}
		if c.Before != nil && c.Old == nil || c.After != nil && c.New == nil {
			fmt.Fprintf(a.out, "Binary files %s and %s differ\n", from, to)
			continue
		}
		fmt.Fprint(a.out, strings.ReplaceAll(untrusted.Text([]byte(udiff.Unified(from, to, string(c.Old), string(c.New)))), "\r", ""))
	}
}
