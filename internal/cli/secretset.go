package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"noid/internal/errs"
	"noid/internal/network/grant"
	"noid/internal/secret"
	"noid/internal/vm"
)

func (a *app) secretSetCmd() *cobra.Command {
	var s secret.Secret
	var file string
	cmd := &cobra.Command{Use: "set NAME", Short: "Keep a secret",
		Long: `Keep a secret, or replace its value and its rules. NAME is that of the variable in guests. noid asks for the value on a
terminal, without echo, and reads it from standard input elsewhere, from FILE with --from-file, or has a command print it each
time with --from-cmd. It is one line of printable ASCII with 8 letters or digits, and never a word of the command line. The
command runs in the directory of now, without a terminal, for 30 seconds at most.

The value is kept in the keyring of your desktop. Where there is none, it is encrypted in noid's home, and the key is in
~/.config/noid/secret.key; NOID_SECRET_KEY names another file.

A request gets the value if it goes to a host of the secret over HTTPS, and if one of the --allow patterns has its method and
its path, where there are any. There the value takes the place of the placeholder in any header, also in a password (HTTP's
"Basic"). --header sets one header in each of these requests, whatever the guest has there, and is then the only place.
--body looks for the placeholder in bodies too. What comes back with the value in it has the placeholder instead.
`,
		Example: "  noid secret set GH_TOKEN --host api.github.com --host github.com --from-cmd 'gh auth token'\n" +
			"  noid secret set API_KEY --host api.example.com --header 'Authorization: Bearer {}' --allow 'GET /v1/**' <key.txt",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 || len(args) == 1 && strings.Contains(args[0], "=") { // it may be the value: it is not repeated
				return usageError("secret set: one NAME, and no value on the command line", "the value comes from the terminal, standard input, --from-file or --from-cmd")
			}
			return arguments(cmd, args)
		},
		PreRunE: func(cmd *cobra.Command, _ []string) error {
			for _, flag := range []string{"header", "from-cmd", "from-file", "store"} { // a script's unset variable
				if f := cmd.Flags().Lookup(flag); f.Changed && f.Value.String() == "" {
					return usageError("--"+flag+" needs a value", "")
				}
			}
			return nil
		},
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			s.Name = args[0]
			if err := errs.Join(secret.CheckName(s.Name), s.Check()); err != nil { // before anybody types a value
				return err
			}
			switch {
			case s.Command != "" && (file != "" || s.Where != ""):
				return usageError("secret set: --from-cmd goes with neither --from-file nor --store", "what a command prints is kept nowhere")
			case s.Where != "" && s.Where != secret.InKeyring && s.Where != secret.InFile:
				return usageError(fmt.Sprintf("secret set: no store %q", s.Where), "choose keyring or file")
			case s.Command != "":
				s.Where = secret.InCommand
				dir, err := os.Getwd()
				if err != nil {
					return err
				}
				s.Dir = dir
			}
			value, from, err := a.readValue(ctx, s, file)
			if err == nil {
				err = grant.CheckValue(value)
			}
			if err != nil {
				return fmt.Errorf("secret %q: %s: %w", s.Name, from, err)
			}
			if err := m.Home.Make(); err != nil {
				return err
			}
			kept, err := secret.Store{Dir: m.Home.Dir()}.Put(ctx, s, value)
			if err == nil {
				m.RenewSecret(ctx, s.Name)
				a.say("guests have %s as %s", kept.Placeholder, kept.Name)
			}
			return err
		})}
	f := cmd.Flags()
	f.StringArrayVar(&s.Hosts, "host", nil, "`host` that gets the value, name or name:port; may be repeated")
	f.StringVar(&s.Header, "header", "", "set this `header`, as in 'Authorization: Bearer {}'")
	f.StringArrayVar(&s.Allow, "allow", nil, "requests that get the value, as in 'GET /repos/**'; may be repeated")
	f.BoolVar(&s.Body, "body", false, "put the value into the bodies of requests too")
	f.StringVar(&s.Command, "from-cmd", "", "have sh run `command` for the value each time")
	f.StringVar(&file, "from-file", "", "read the value from `FILE`")
	f.StringVar(&s.Where, "store", "", "`where` to keep the value: keyring or file (default keyring, if there is one)")
	return cmd
}

// readValue gets the value of s, and says where from.
func (a *app) readValue(ctx context.Context, s secret.Secret, file string) (value, from string, err error) {
	if s.Command != "" {
		value, err = secret.Run(ctx, s.Dir, s.Command)
		return value, "--from-cmd", err
	}
	in, from := os.Stdin, "standard input"
	if file != "" {
		f, err := os.Open(file)
		if errors.Is(err, fs.ErrNotExist) {
			err = errs.Mark(err, errs.ErrNotFound)
		}
		if err != nil {
			return "", "--from-file", err
		}
		defer f.Close()
		in, from = f, "--from-file"
	} else if term.IsTerminal(int(in.Fd())) {
		value, err = a.askValue(s.Name)
		return value, "the terminal", err
	}
	data, err := io.ReadAll(io.LimitReader(in, grant.MaxValue+3)) // with its newline, and one that is too long
	return secret.Line(data), from, err
}

// askValue asks on the terminal, without echo. After Ctrl+C too the terminal has its echo again.
func (a *app) askValue(name string) (string, error) {
	fd := int(os.Stdin.Fd())
	old, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return "", err
	}
	quiet := *old
	quiet.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &quiet); err != nil { // before the question: the answer may come at once
		return "", err
	}
	defer unix.IoctlSetTermios(fd, unix.TCSETS, old)
	fmt.Fprintf(a.err, "value of %s: ", name)
	type answer struct {
		text []byte
		err  error
	}
	typed := make(chan answer, 1)
	go func() {
		text, err := bufio.NewReader(io.LimitReader(os.Stdin, grant.MaxValue+3)).ReadBytes('\n')
		typed <- answer{text, err}
	}()
	select {
	case got := <-typed:
		fmt.Fprintln(a.err)
		if got.err == io.EOF { // of Ctrl+D after what was typed, or of a line too long
			got.err = nil
		}
		return secret.Line(got.text), got.err
	case <-a.ctx.Done():
		return "", a.ctx.Err()
	}
}
