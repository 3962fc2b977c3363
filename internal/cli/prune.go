package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"noid/internal/api"
	"noid/internal/config"
	"noid/internal/vm"
)

func (a *app) pruneCmd() *cobra.Command {
	var cache, dryRun, asJSON bool
	var r vm.Retention
	var within, maxBytes string
	cmd := &cobra.Command{
		Use: "prune [NAME]", Short: "Remove old checkpoints of a VM, or what noid can make again",
		Long: `Remove the checkpoints of a VM that no rule keeps. The rules are restic's: --keep-daily 7 keeps the newest of each of the last
seven days that have one, and what any rule keeps stays. A pinned checkpoint, one with a label, and the one that the VM came
from last always stay: 'noid forget' deletes them. --dry-run shows the disk space that each has for itself; what only those
that go have in common is freed too.

With --cache instead of a VM: all templates, the whole memories that clones of packed checkpoints share, and the kernels and
initramfs files that no VM and no checkpoint boots from. The next 'create' or 'restore' takes longer. No VM, checkpoint or
image is touched. 'noid du' shows what there is.
`,
		Example: "  noid prune dev --keep-last 10 --keep-daily 7\n  noid prune dev --max-bytes 5G --dry-run\n  noid prune --cache",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			if cache == (len(args) > 0) {
				return usageError("prune takes the name of a vm, or --cache", "'noid prune NAME --keep-last 10', or 'noid prune --cache'")
			}
			if cache {
				freed, err := m.PruneCache(ctx)
				if err == nil && !a.quiet {
					fmt.Fprintf(a.err, "freed %s\n", size(freed))
				}
				return err
			}
			var err error
			if r.Within, err = parseWithin(within); err != nil {
				return err
			}
			if maxBytes != "" {
				mib, err := config.ParseDisk(maxBytes)
				if err != nil {
					return fmt.Errorf("--max-bytes: %w", err)
				}
				r.MaxBytes = int64(mib) << 20
			}
			plan, err := m.Prune(ctx, args[0], r, dryRun)
			if plan == nil && err != nil {
				return err
			}
			a.printPlan(plan, dryRun, asJSON)
			return err
		}),
	}
	f := cmd.Flags()
	f.BoolVar(&cache, "cache", false, "templates, and kernels that nothing boots from")
	for _, rule := range []struct {
		n    *int
		flag string
		what string
	}{{&r.Last, "last", "the newest `N`"}, {&r.Hourly, "hourly", "the newest of each of the last `N` hours that have one"},
		{&r.Daily, "daily", "likewise of `N` days"}, {&r.Weekly, "weekly", "of `N` weeks"}, {&r.Monthly, "monthly", "of `N` months"}, {&r.Yearly, "yearly", "of `N` years"}} {
		f.Var((*keepValue)(rule.n), "keep-"+rule.flag, "keep "+rule.what)
	}
	f.StringVar(&within, "within", "", "keep all that are younger than the newest by this `TIME`, such as 7d or 12h")
	f.StringArrayVar(&r.Labels, "keep-label", nil, "keep those with this `LABEL`, automatic ones too")
	f.StringVar(&maxBytes, "max-bytes", "", "remove the oldest until the others have no more than this `SIZE` of their own, such as 5G")
	f.BoolVar(&dryRun, "dry-run", false, "say what would be removed, and remove nothing")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// keepValue is a flag that takes how many stay.
type keepValue int

func (k *keepValue) String() string {
	if k == nil || *k == 0 {
		return ""
	}
	return strconv.Itoa(int(*k))
}
func (*keepValue) Type() string { return "N" }
func (k *keepValue) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > 1_000_000 {
		return fmt.Errorf("%q is not a number from 1 to 1000000", s)
	}
	*k = keepValue(n)
	return nil
}

// parseWithin accepts a time as Go writes it, or a number of days such as 7d.
func parseWithin(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if days, found := strings.CutSuffix(s, "d"); found {
		n, daysErr := strconv.ParseUint(days, 10, 16)
		d, err = time.Duration(n)*24*time.Hour, daysErr
	}
	if err != nil || d <= 0 {
		return 0, usageError(fmt.Sprintf("--within: %q is not a time", s), "write a time such as 7d, 12h or 30m")
	}
	return d, nil
}

func (a *app) printPlan(plan []vm.Planned, dryRun, asJSON bool) {
	docs, rows, gone, freed := []api.Planned{}, [][]string{}, 0, int64(0)
	for _, p := range plan {
		docs = append(docs, api.PlannedOf(p))
		what, own := "keep", ""
		var bytes int64
		if p.Size != nil {
			bytes = p.Size.Own()
			own = size(bytes)
		}
		if !p.Keep() {
			what = "remove"
			gone++
			freed += bytes
		}
		rows = append(rows, []string{p.ID, local(p.CreatedAt), p.Label, what, strings.Join(p.Because, ", "), own})
	}
	switch {
	case asJSON:
		printJSON(a.out, docs)
	case dryRun:
		table(a.out, []string{"id", "created", "label", "", "because", "own"}, rows)
		if !a.quiet {
			fmt.Fprintf(a.err, "would remove %s, keep %d, and free %s or more\n", count(gone, "checkpoint"), len(plan)-gone, size(freed))
		}
	case !a.quiet:
		fmt.Fprintf(a.err, "removed %s, kept %d\n", count(gone, "checkpoint"), len(plan)-gone)
	}
}
