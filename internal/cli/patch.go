package cli

import (
	"fmt"
	"io"
	"strings"

	"noid/internal/api"
	"noid/internal/untrusted"
	"noid/internal/vm"
)

// printPatch prints what differs as git does: of texts the lines, of all else a line.
func printPatch(w io.Writer, d vm.Diff) {
	for _, c := range d.Changes {
		fmt.Fprintln(w, changeLine(c))
		fmt.Fprint(w, strings.ReplaceAll(untrusted.Text([]byte(api.Patch(c))), "\r", ""))
	}
}
