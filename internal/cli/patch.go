package cli

import (
	"fmt"
	"strings"

	"noid/internal/api"
	"noid/internal/untrusted"
	"noid/internal/vm"
)

// printPatch prints what differs as git does: of texts the lines, of all else a line.
func (a *app) printPatch(d vm.Diff) {
	for _, c := range d.Changes {
		fmt.Fprintln(a.out, changeLine(c))
		fmt.Fprint(a.out, strings.ReplaceAll(untrusted.Text([]byte(api.Patch(c))), "\r", ""))
	}
}
