package cli

import (
	"cmp"
	"context"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"noid/internal/vm"
)

func (a *app) cpCmd() *cobra.Command {
	var o vm.CopyOptions
	cmd := &cobra.Command{
		Use: "cp [-r] [-a] SRC... DST", Short: "Copy files between this machine and a guest, or two guests",
		Long: `Copy a file, or with -r a directory, between this machine and a guest, or two guests. NAME:/path is a file in a VM.
NAME:path is relative to the home of root in the guest. Anything else is a file here (./a:b if its name has a colon).
NAME@ID:/path is a file of a checkpoint, and NAME@now:/path one of a VM that need not run, as in 'noid exec'. Nothing
can be copied into one.

If DST is an existing directory, the copy goes into it under SRC's name. Otherwise the copy is named DST. SRC/. copies what is
in a directory. Several SRC go into a directory. They are all here, or all in one VM; noid looks at all before it copies one.
Contents, modes, times, links and holes are kept. The copy belongs to the caller, in a guest to root. -a keeps owners, set-uid
bits and what else only root can give, extended attributes, ACLs and file capabilities, and implies -r. What it cannot keep of
these is a warning. Neither keeps SELinux labels.

A file that is there keeps its owner, mode and extended attributes, unless you say -a. It is replaced whole: an interrupted copy
leaves the old one. Only a file with several names (hard links), a mount point, and a file in a directory that you may not write
are written in place, after a look whether there is room: an interrupted copy may leave these half written.

Devices, FIFOs and sockets in a directory are skipped with a warning, and the exit code is then 1. What the kernel shows in file
systems mounted below SRC (/proc, /sys, /dev) is left out with one warning. A file that grows is copied as long as it was.

SRC itself may be a pipe or a device, such as /dev/stdin: what can be read of it becomes a file. As DST, these are written and
not replaced, such as /dev/stdout.

As DST, - writes a tar to standard output. As SRC, - unpacks the tar on standard input into a directory of the guest.
`,
		Example: "  noid cp app.conf dev:/etc/\n  noid cp dev:/etc/hosts dev:/etc/passwd .\n  noid cp -r dev:/var/log logs\n  noid cp dev:/srv - | gzip >srv.tar.gz\n  noid cp dev@before-upgrade:/etc/app.conf .",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Recursive = o.Recursive || o.Owners
			return a.cp(cmd.Context(), args[:len(args)-1], args[len(args)-1], o)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&o.Recursive, "recursive", "r", false, "copy directories")
	f.BoolVarP(&o.Owners, "archive", "a", false, "copy directories and keep owners, extended attributes and ACLs")
	durationVar(f, &o.Wait, "wait-timeout", time.Minute, "how long to wait for the guest to be up")
	return cmd
}

// parsePlace takes an argument apart: NAME:PATH or NAME@ID:PATH, where NAME can be a VM's. "-" is a stream, which the caller fills in.
func parsePlace(arg string) (vm.Place, error) {
	at, rest, colon := strings.Cut(arg, ":")
	if arg == "" {
		return vm.Place{}, usageError("cp: an empty path", "")
	}
	name, ref, err := vm.ParseRef(at)
	if !colon || err != nil || strings.Contains(ref, "/") {
		return vm.Place{Path: arg}, nil
	}
	return vm.Place{VM: name, Ref: ref, Path: cmp.Or(rest, ".")}, nil
}

// streams makes "-" a stream, which must not be a terminal.
func streams(src, dst *vm.Place, in, out *os.File) error {
	if src.VM == "" && src.Path == "-" {
		if term.IsTerminal(int(in.Fd())) {
			return usageError("cp: standard input is a terminal", "tar c FILES | noid cp - "+dst.String())
		}
		src.In = in
	}
	if dst.VM == "" && dst.Path == "-" {
		if term.IsTerminal(int(out.Fd())) {
			return usageError("cp: a tar is not for a terminal", "noid cp "+src.String()+" - | tar tv")
		}
		dst.Out = out
	}
	return nil
}

// cp copies the sources to dst.
func (a *app) cp(ctx context.Context, srcArgs []string, dstArg string, o vm.CopyOptions) error {
	dst, err := parsePlace(dstArg)
	if err != nil {
		return err
	}
	srcs := make([]vm.Place, len(srcArgs))
	for i, arg := range srcArgs {
		if srcs[i], err = parsePlace(arg); err != nil {
			return err
		}
		if err := streams(&srcs[i], &dst, os.Stdin, os.Stdout); err != nil {
			return err
		}
	}
	m, err := a.manager()
	if err != nil {
		return err
	}
	p := newProgress(a.err, !a.quiet && dst.Out == nil && term.IsTerminal(int(os.Stderr.Fd())))
	o.Warn, o.Count = func(s string) { p.say("noid: cp: " + s) }, p.add
	err = m.Copy(ctx, srcs, dst, o)
	p.stop()
	return err
}
