package api

import (
	"fmt"
	"strings"

	"github.com/aymanbagabas/go-udiff"

	"noid/internal/vm"
)

// oneLine keeps a path in its line of a patch.
var oneLine = strings.NewReplacer("\n", `\n`, "\t", `\t`)

// Patch is what differs in the text of a file, as a unified diff; "" where no text was asked for or read. It is the
// guest's text: not fit for a terminal.
func Patch(c vm.Change) string {
	if c.Old == nil && c.New == nil {
		return ""
	}
	from, to := "/dev/null", "/dev/null"
	if c.Before != nil {
		from = "a" + oneLine.Replace(c.Path)
		if c.From != "" {
			from = "a" + oneLine.Replace(c.From)
		}
	}
	if c.After != nil {
		to = "b" + oneLine.Replace(c.Path)
	}
	if c.Before != nil && c.Old == nil || c.After != nil && c.New == nil {
		return fmt.Sprintf("Binary files %s and %s differ\n", from, to)
	}
	return udiff.Unified(from, to, string(c.Old), string(c.New))
}
