package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"noid/internal/api"
	"noid/internal/untrusted"
	"noid/internal/vm"
)

// diffFlags say how diff prints.
type diffFlags struct {
	json, stat, nameOnly, patch, exitCode bool
}

func (a *app) diffCmd() *cobra.Command {
	var o vm.DiffOptions
	var f diffFlags
	cmd := &cobra.Command{
		Use: "diff A [B] [-- PATH...]", Short: "Show which files differ between two moments",
		Long: `Show which files differ between A and B. Each is a VM, running or not, a checkpoint NAME@ID, NAME@now, or an image that the other
one is of. Without B, A is a VM, and the checkpoint that it was last kept as, or came from, is compared with the VM as it
is now.

A line begins with A for a file that was added, M for one that was changed, D for one that was deleted, and R for one that was
renamed. It has the file's mode, owner, size and time, and what has changed of it. A rename is shown where it is sure: the same
inode, or the same content, that nothing else has.

Files in /run, /tmp and /var/log, sockets and terminals come and go by themselves: they are counted in one line, unless you say
--all. What is mounted in the guest, such as a tmpfs, is not compared.

The guests' agents list the files. A hostile guest can list what it likes, and spoils no more than its own diff.
`,
		Annotations: map[string]string{ExitStatus: "  0, whether or not something differs. With --exit-code 1 when something does."},
		Example:     "  noid diff dev\n  noid diff dev@before-upgrade dev -- /etc\n  noid diff -p dev@1a2b3c4d dev@5e6f7a8b\n  noid diff python:3.13 dev --stat",
		Args: func(cmd *cobra.Command, args []string) error {
			n := len(args)
			if dash := cmd.ArgsLenAtDash(); dash >= 0 {
				n, o.Paths = dash, args[dash:]
			}
			if n < 1 {
				return arguments(cmd, nil)
			}
			if n > 2 {
				return usageError(fmt.Sprintf("diff: unexpected argument %q", args[2]), "paths come after --, see 'noid diff --help'")
			}
			if format := []bool{f.json, f.stat, f.nameOnly, f.patch}; len(slices.DeleteFunc(format, func(b bool) bool { return !b })) > 1 {
				return usageError("--json, --stat, --name-only and -p are one too many", "choose one")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := a.manager()
			if err != nil {
				return err
			}
			o.Texts = f.patch
			return a.diff(cmd.Context(), m, args[:len(args)-len(o.Paths)], o, f)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.stat, "stat", false, "sizes, and a count of all")
	flags.BoolVar(&f.nameOnly, "name-only", false, "paths alone")
	flags.BoolVarP(&f.patch, "patch", "p", false, "the lines that differ of texts of up to 256 KiB")
	flags.BoolVar(&f.json, "json", false, "print JSON")
	flags.BoolVar(&o.Processes, "processes", false, "processes that came, went, or are others under the same id, and no files")
	flags.BoolVar(&o.Packages, "packages", false, "packages of dpkg, apk, pip and npm, and no files")
	flags.BoolVar(&o.All, "all", false, "also what changes by itself")
	flags.BoolVar(&f.exitCode, "exit-code", false, "exit with 1 when something differs")
	durationVar(flags, &o.Wait, "wait-timeout", time.Minute, "how long to wait for the guests to be up")
	return cmd
}

// diff compares what args name, and prints it.
func (a *app) diff(ctx context.Context, m *vm.Manager, args []string, o vm.DiffOptions, f diffFlags) error {
	before, after, err := m.Moments(ctx, args)
	if err != nil {
		return err
	}
	d, err := m.Diff(ctx, before, after, o)
	if err != nil {
		return err
	}
	switch {
	case f.json:
		err = printJSON(a.out, api.DiffOf(before, after, d))
	case o.Processes || o.Packages:
		a.printProcesses(d.Processes)
		a.printPackages(d.Packages)
		d.Changes, d.Folded = nil, 0
	case f.nameOnly:
		for _, c := range d.Changes {
			fmt.Fprintln(a.out, name(c.Path))
		}
	case f.stat:
		printStat(a.out, d, len(d.Changes))
	case f.patch:
		printPatch(a.out, d)
	default:
		for _, c := range d.Changes {
			fmt.Fprintln(a.out, changeLine(c))
		}
	}
	if d.Folded > 0 && !f.json {
		a.say("noid: %d more in /run, /tmp, logs and the like: --all shows them", d.Folded)
	}
	if d.Cut {
		fmt.Fprintln(a.err, "noid: diff: there is more than this: the list is cut")
	}
	if err == nil && f.exitCode && len(d.Changes)+len(d.Processes)+len(d.Packages) > 0 {
		return codeError{exitFailed}
	}
	return err
}

// name is a path that is fit for a terminal, and one line.
func name(path string) string {
	return strings.NewReplacer("\n", `\n`, "\t", `\t`).Replace(untrusted.Text([]byte(path)))
}

var letters = map[vm.ChangeKind]string{vm.Added: "A", vm.Removed: "D", vm.Changed: "M", vm.Renamed: "R"}

// changeLine is the line of a change.
func changeLine(c vm.Change) string {
	f := c.After
	if f == nil {
		f = c.Before
	}
	line := fmt.Sprintf("%s %s %d:%d %10d %s %s", letters[c.Kind], api.ModeText(f.Mode), f.UID, f.GID, f.Size,
		local(time.Unix(0, f.Mtime)), shown(c))
	if c.Kind == vm.Added || c.Kind == vm.Removed || len(c.What) == 0 {
		return line
	}
	var what []string
	for _, w := range c.What {
		switch w {
		case "mode", "kind":
			w += " was " + api.ModeText(c.Before.Mode)
		case "owner":
			w += fmt.Sprintf(" was %d:%d", c.Before.UID, c.Before.GID)
		case "content":
			if c.Before.Size != c.After.Size {
				w += fmt.Sprintf(" was %d", c.Before.Size)
			}
		case "target":
			w += " was " + name(c.Before.Target)
		}
		what = append(what, w)
	}
	return line + " (" + strings.Join(what, ", ") + ")"
}

// shown is the path of a change, with that which it had.
func shown(c vm.Change) string {
	at := name(c.Path)
	if c.From != "" {
		at = name(c.From) + " => " + at
	}
	if c.After != nil && c.After.Mode&unix.S_IFMT == unix.S_IFLNK {
		at += " -> " + name(c.After.Target)
	}
	return at
}

// printStat prints sizes, of limit files at most, and a count.
func printStat(w io.Writer, d vm.Diff, limit int) {
	counts, bytes := map[vm.ChangeKind]int{}, int64(0)
	size := func(f *vm.File) int64 {
		if f == nil || f.Mode&unix.S_IFMT != unix.S_IFREG {
			return 0
		}
		return f.Size
	}
	for i, c := range d.Changes {
		counts[c.Kind]++
		bytes += size(c.After) - size(c.Before)
		if i < limit {
			fmt.Fprintf(w, "%s %s | %d -> %d bytes\n", letters[c.Kind], shown(c), size(c.Before), size(c.After))
		}
	}
	if more := len(d.Changes) - limit; more > 0 {
		fmt.Fprintf(w, "and %s more\n", count(more, "file"))
	}
	fmt.Fprintf(w, "%d added, %d changed, %d deleted, %d renamed, %+d bytes\n", counts[vm.Added], counts[vm.Changed], counts[vm.Removed], counts[vm.Renamed], bytes)
}
