package cli

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"noid/internal/errs"
	"noid/internal/vm"
)

func (a *app) tryCmd() *cobra.Command {
	var c vm.Command
	var o vm.TryOptions
	var ask bool
	cmd := &cobra.Command{
		Use: "try [flags] NAME [--] CMD [ARG...]", Short: "Run a command, and undo it if it fails",
		Long: `Run a command in the guest as 'noid exec' does. If it fails, is interrupted or cannot be run, the VM goes back, memory and
all, to where it was before. Output and exit code are the command's.
The checkpoint of before stays, so 'noid undo' takes back what succeeded. Flags may follow NAME if -- stands before CMD.
`,
		Annotations: map[string]string{ExitStatus: commandStatus},
		Example:     "  noid try dev -- apt-get install -y nginx\n  noid try --ask dev -- ./migrate.sh",
		RunE: func(cmd *cobra.Command, args []string) error {
			words, err := lateFlags(cmd, args[1:])
			if err != nil {
				return err
			}
			if c.Argv = guestWords(words); len(c.Argv) == 0 {
				return arguments(cmd, args[:1])
			}
			if err := checkCommand(&c); err != nil {
				return err
			}
			switch {
			case ask && o.Always:
				return usageError("--ask and --always", "leave one of them out")
			case ask && c.Stdin:
				return usageError("--ask and -i: the answer and the command's input come from one terminal", "leave out -i")
			case ask && !term.IsTerminal(int(os.Stdin.Fd())):
				return usageError("--ask needs a terminal, and standard input is none", "--always goes back whatever the command did")
			}
			m, err := a.manager()
			if err != nil {
				return err
			}
			if ask {
				o.Ask = func(ctx context.Context, before string, _ vm.Exit) (bool, error) {
					return a.askKeep(ctx, m, args[0], before, c.Wait)
				}
			}
			return a.attach(cmd.Context(), &c, func(ctx context.Context, s vm.Streams) (vm.Exit, error) {
				t, err := m.Try(ctx, args[0], c, s, o)
				if t.Back && !a.quiet {
					fmt.Fprintf(a.err, "noid: vm %q is as it was before\n", args[0])
				}
				return t.Exit, err
			})
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false)
	commandFlags(f, &c)
	durationVar(f, &c.Wait, "wait-timeout", time.Minute, "how long to wait for the guest to be up")
	f.BoolVar(&o.Always, "always", false, "go back whatever the command did")
	f.BoolVar(&ask, "ask", false, "show what a command that succeeded has done, and ask whether to keep it")
	return cmd
}

// lateFlags heeds the flags of cmd that stand before a --, as in 'try NAME --ask -- CMD', and returns the words from there.
// Without a -- all words are the guest's.
func lateFlags(cmd *cobra.Command, words []string) ([]string, error) {
	end := slices.Index(words, "--")
	if end < 1 || !strings.HasPrefix(words[0], "-") {
		return words, nil
	}
	if err := cmd.Flags().Parse(words[:end]); err != nil {
		return nil, usage(cmd, err)
	}
	if other := cmd.Flags().Args(); len(other) > 0 {
		return nil, usageError(fmt.Sprintf("%s: unexpected argument %q before --", cmd.Name(), other[0]), "the command follows --")
	}
	if help, _ := cmd.Flags().GetBool("help"); help {
		return nil, pflag.ErrHelp
	}
	return words[end:], nil
}

// askedFiles is of how many files try shows what became of them before it asks.
const askedFiles = 20

// askKeep shows what a command has done since the checkpoint before of the VM name, and asks on the terminal whether to
// keep it: d shows the lines too. The end of the input is no.
func (a *app) askKeep(ctx context.Context, m *vm.Manager, name, before string, wait time.Duration) (bool, error) {
	diff := func(texts bool) {
		d, err := m.Diff(ctx, vm.Moment{VM: name, Ref: before}, vm.Moment{VM: name}, vm.DiffOptions{Texts: texts, Wait: wait})
		switch {
		case ctx.Err() != nil:
		case err != nil:
			a.complain(err)
		case texts:
			printPatch(a.err, d)
		default:
			printStat(a.err, d, askedFiles)
		}
	}
	diff(false)
	lines := make(chan string, 1)
	go func() {
		defer close(lines)
		in := bufio.NewReader(os.Stdin)
		for err := error(nil); err == nil; {
			var line string
			line, err = in.ReadString('\n')
			lines <- strings.ToLower(strings.TrimSpace(line))
		}
	}()
	for {
		if ctx.Err() == nil {
			fmt.Fprint(a.err, "Keep it? [y/N, d shows the lines that differ] ")
		}
		select {
		case line := <-lines:
			if line != "d" {
				return line == "y" || line == "yes", nil
			}
			diff(true)
		case <-ctx.Done():
			return false, errs.WithHint(ctx.Err(), "what was done is undone")
		}
	}
}
