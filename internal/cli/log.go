package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"noid/internal/api"
	"noid/internal/errs"
	"noid/internal/untrusted"
	"noid/internal/vm"
)

func (a *app) logCmd() *cobra.Command {
	var asJSON, sizes, graph bool
	var limit int
	cmd := &cobra.Command{
		Use: "log NAME", Short: "Show a VM's history: its checkpoints and what led to each",
		Long: `Show a VM's history, the newest first: its checkpoints, what led to each, and the VMs that came from it. A * is at the
checkpoint that the VM came from last, or was kept as last. --graph draws which checkpoint came after which.
`,
		Example: "  noid log dev\n  noid log --graph -n 20 dev",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			if limit < 0 {
				return usageError(fmt.Sprintf("-n takes a number of checkpoints, not %d", limit), "0 shows all")
			}
			h, err := m.Log(ctx, args[0], limit, sizes)
			if h.Entries == nil && err != nil {
				return err
			}
			switch {
			case asJSON:
				err = errs.Join(err, printJSON(a.out, api.HistoryOf(args[0], h)))
			case graph:
				a.printGraph(h)
			default:
				a.printHistory(h, sizes)
			}
			return err
		}),
	}
	cmd.Flags().IntVarP(&limit, "number", "n", 0, "show the newest `N` alone")
	cmd.Flags().BoolVar(&graph, "graph", false, "draw the branches")
	cmd.Flags().BoolVar(&sizes, "size", false, "show the disk space that forgetting each would free")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) printHistory(h vm.History, sizes bool) {
	header := []string{"id", "created", "label", "because", "vms"}
	if sizes {
		header = append(header, "own")
	}
	var rows [][]string
	for _, e := range h.Entries {
		label := e.Label
		if !e.Labelled() { // it says what the cause says
			label = ""
		}
		row := []string{e.ID, local(e.CreatedAt), label, because(e), strings.Join(e.Clones, " ")}
		if e.ID == h.Now {
			row[0] += " *"
		}
		if e.Err != nil {
			row[1], row[2] = "-", "(broken)"
		}
		if e.Size != nil {
			row = append(row, size(e.Size.Own()))
		}
		rows = append(rows, row)
	}
	table(a.out, header, rows)
}

// because says what led to a checkpoint.
func because(e vm.LogEntry) string {
	text := ""
	switch c := e.Cause; c.By {
	case vm.ByAuto:
		if text = "before " + c.What; c.What == "" {
			text = "time went by"
		}
	case vm.ByTry:
		text = "before try " + c.What
	case vm.ByExplore:
		n := c.Turn[strings.IndexByte(c.Turn, '.')+1:]
		if n == "0" {
			text = "before explore"
			break
		}
		return strings.TrimSpace(map[bool]string{true: "pinned "}[e.Pinned] + "variant " + n + ": " + c.What)
	case vm.ByRestore:
		text = "before restore to " + c.What
	case vm.ByKeep:
		text = "before keep of " + c.What
	case vm.ByUndo:
		text = "before undo to " + c.What
	case vm.ByRedo:
		text = "before redo to " + c.What
	}
	if e.Cause.Turn != "" && e.Cause.By != vm.ByExplore {
		text += " (turn " + e.Cause.Turn + ")"
	}
	if e.Pinned {
		text = strings.TrimSpace("pinned " + text)
	}
	return text
}

// maxBecause bounds, in characters, what a line of the graph says of a checkpoint.
const maxBecause = 100

// printGraph draws which checkpoint came after which, as git log --graph does: a column a branch.
func (a *app) printGraph(h vm.History) {
	var branches []string // each one's next checkpoint
	if h.Exists {
		fmt.Fprintln(a.out, "@ now")
		branches = append(branches, h.Now)
	}
	for _, e := range h.Entries {
		at := slices.Index(branches, e.ID)
		if at < 0 {
			at = len(branches)
			branches = append(branches, e.ID)
		}
		for i := len(branches) - 1; i > at; i-- { // other branches end in this one
			if branches[i] == e.ID {
				fmt.Fprintln(a.out, strings.Repeat("| ", at)+"|"+strings.Repeat("_|", i-at-1)+"/"+strings.Repeat(" |", len(branches)-i-1))
				branches = slices.Delete(branches, i, i+1)
			}
		}
		text := fmt.Sprintf("%s %s", e.ID, local(e.CreatedAt))
		if e.Err != nil {
			text = e.ID + " (broken)"
		}
		for _, more := range []string{e.Label, because(e), strings.Join(e.Clones, " ")} {
			if more != "" && (more != e.Label || because(e) != e.Label) {
				text += "  " + untrusted.Line(more, maxBecause)
			}
		}
		fmt.Fprintln(a.out, strings.Repeat("| ", at)+"* "+strings.Repeat("| ", len(branches)-at-1)+text)
		_, branches[at], _ = strings.Cut(e.Parent, "@")
	}
}

func (a *app) pinCmd(on bool) *cobra.Command {
	cmd := &cobra.Command{
		Use: "pin NAME ID", Short: "Keep a checkpoint when others are pruned", Args: refArguments,
		Long: `Keep a checkpoint when others are pruned, be it by 'noid prune' or because a VM has many automatic ones. 'noid forget' deletes it
all the same.
`,
		Example: "  noid pin dev before-upgrade\n  noid unpin dev@1a2b3c4d",
		RunE: func(cmd *cobra.Command, args []string) error {
			name, ref, err := nameAndRef(args)
			if err != nil {
				return err
			}
			m, err := a.manager()
			if err != nil {
				return err
			}
			_, err = m.Pin(cmd.Context(), name, ref, on)
			return err
		},
	}
	if !on {
		cmd.Use, cmd.Short, cmd.Long = "unpin NAME ID", "No longer keep a checkpoint when others are pruned", ""
	}
	return cmd
}
