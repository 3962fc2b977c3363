package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"noid/internal/cli"
)

// TestPage compares the page of a made-up command with what roff is to read.
func TestPage(t *testing.T) {
	root := &cobra.Command{Use: "noid", Long: "exit codes"}
	root.PersistentFlags().BoolP("quiet", "q", false, "say nothing")
	cmd := &cobra.Command{Use: "try [flags] NAME", Short: "Try it's luck", Run: func(*cobra.Command, []string) {},
		Long:    "One \\ line.\n.TH is text.\n\nAnother:\n\n  as it   is\n\n  -x\nThe end.\n",
		Example: "  noid try a"}
	cmd.Flags().String("file", "none", "read `PATH`")
	root.AddCommand(cmd)
	want := `.TH NOID-TRY 1 2026-11-28 "noid VERSION" "noid manual"
.SH NAME
noid\-try \- Try it\(aqs luck
.SH SYNOPSIS
.nf
noid try [flags] NAME
.fi
.SH DESCRIPTION
One \e line.
\&.TH is text.
.PP
Another:
.PP
.nf
.RS 2
as it   is

\-x
.RE
.fi
.PP
The end.
.SH OPTIONS
.TP
\fB\-\-file\fR \fIPATH\fR
read PATH (default none)
.SH GLOBAL OPTIONS
.TP
\fB\-q\fR, \fB\-\-quiet\fR
say nothing
.SH EXAMPLES
.nf
.RS 2
noid try a
.RE
.fi
.SH EXIT STATUS
See noid(1).
.SH SEE ALSO
\fBnoid\fR(1)
`
	got := page(cmd, "2026-11-28")
	head, rest, _ := strings.Cut(got, "\n")
	_, wantRest, _ := strings.Cut(want, "\n")
	if !strings.HasPrefix(head, `.TH NOID-TRY 1 2026-11-28 "noid `) {
		t.Errorf("the first line is %q", head)
	}
	if diff := cmp.Diff(wantRest, rest); diff != "" {
		t.Error(diff)
	}
}

// TestWrite: each command has a page, which has each of its flags.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	root := cli.Commands()
	if err := write(dir, root, "2026-11-28"); err != nil {
		t.Fatal(err)
	}
	var look func(cmd *cobra.Command)
	look = func(cmd *cobra.Command) {
		text, err := os.ReadFile(filepath.Join(dir, name(cmd)+".1"))
		if err != nil {
			t.Error(err)
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden && !strings.Contains(string(text), `\fB\-\-`+escape(f.Name)+`\fR`) {
				t.Errorf("the page of %q lacks --%s", cmd.CommandPath(), f.Name)
			}
		})
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() {
				look(c)
			}
		}
	}
	look(root)
	if text, _ := os.ReadFile(filepath.Join(dir, "noid.1")); !strings.Contains(string(text), "noid\\-create\\fR(1)\n") || !strings.Contains(string(text), "130  interrupted") {
		t.Errorf("noid.1:\n%s", text)
	}
}
