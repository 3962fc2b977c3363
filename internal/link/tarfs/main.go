package tarfs

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"

	"noid/internal/errs"
)

// The names of the tools, a tool's lines on its standard error begin with one of the two words, and what the exit code
// is of (as noid's own).
const (
	CreateTool  = "tar-create"
	ExtractTool = "tar-extract"

	WarningPrefix = "warning: " // an entry that was left out
	ErrorPrefix   = "error: "   // why it ended, the last line

	ExitFailed   = 1 // or there were warnings
	ExitUsage    = 2 // a directory without -r, too
	ExitNotFound = 3
	ExitNoSpace  = 8 // on the guest's file system, which is not this machine's
)

// Bounds of what a tool says: of the warnings, and of the bytes in a line.
const (
	MaxWarnings = 100
	MaxLine     = 2048
)

// CreateArgs returns the arguments with which Main writes srcs as CreateOptions say.
func CreateArgs(opts CreateOptions, srcs ...string) []string {
	args := []string{CreateTool}
	if opts.Recursive {
		args = append(args, "-r")
	}
	if opts.Owners {
		args = append(args, "-a")
	}
	if opts.Plain {
		args = append(args, "-plain")
	}
	return append(append(args, "--"), srcs...)
}

// ExtractArgs returns the arguments with which Main unpacks at dst as ExtractOptions say.
func ExtractArgs(dst string, opts ExtractOptions) []string {
	args := []string{ExtractTool}
	if opts.Recursive {
		args = append(args, "-r")
	}
	if opts.Owners {
		args = append(args, "-a")
	}
	if opts.Name != "" {
		for _, name := range append([]string{opts.Name}, opts.Others...) {
			args = append(args, "-name="+name)
		}
	}
	return append(args, "--", dst)
}

// Main runs a tool: args are those of CreateArgs or ExtractArgs. It returns the exit code. SIGHUP, SIGINT and SIGTERM
// end an extraction cleanly.
func Main(args []string, in io.Reader, out, errw io.Writer) int {
	if len(args) == 0 {
		return fail(errw, errs.New(errs.ErrUsage, "no tool named"))
	}
	tool := args[0]
	f := flag.NewFlagSet(tool, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	var (
		recursive = f.Bool("r", false, "directories too")
		plain     = f.Bool("plain", false, "a tar for anyone")
		owners    = f.Bool("a", false, "keep owners")
		names     []string
	)
	f.Func("name", "a name that is expected", func(s string) error {
		names = append(names, s)
		return nil
	})
	if err := f.Parse(args[1:]); err != nil {
		return fail(errw, errs.Mark(err, errs.ErrUsage))
	}
	warnings := 0
	warn := func(s string) {
		if warnings++; warnings <= MaxWarnings {
			say(errw, WarningPrefix, s)
		}
	}
	var stats Stats
	var err error
	switch {
	case tool == CreateTool && f.NArg() > 0:
		stats, err = Create(context.Background(), out, f.Args(), CreateOptions{Recursive: *recursive, Plain: *plain, Owners: *owners, Warn: warn})
	case tool == ExtractTool && f.NArg() == 1:
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		opts := ExtractOptions{Recursive: *recursive, Owners: *owners, Warn: warn}
		if len(names) > 0 {
			opts.Name, opts.Others = names[0], names[1:]
		}
		stats, err = Extract(ctx, in, f.Arg(0), opts)
	default:
		err = errs.New(errs.ErrUsage, "no tool %q with %d arguments", tool, f.NArg())
	}
	if warnings > MaxWarnings {
		say(errw, WarningPrefix, fmt.Sprintf("and %d more", warnings-MaxWarnings))
	}
	if err != nil {
		return fail(errw, err)
	}
	if stats.Failed > 0 {
		return ExitFailed
	}
	return 0
}

func fail(w io.Writer, err error) int {
	say(w, ErrorPrefix, err.Error())
	switch {
	case errors.Is(err, errs.ErrUsage):
		return ExitUsage
	case errors.Is(err, errs.ErrNotFound):
		return ExitNotFound
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return ExitNoSpace
	}
	return ExitFailed
}

// say writes one line of bounded length.
func say(w io.Writer, prefix, s string) {
	s = strings.ReplaceAll(s, "\n", " ")
	if len(s) > MaxLine {
		s = s[:MaxLine] + "..."
	}
	fmt.Fprintln(w, prefix+s)
}
