package secret

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"
	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/network/grant"
	"noid/internal/storage"
	"noid/internal/untrusted"
)

// keep puts value where n says, and notes in n how to find it.
func (n *Secret) keep(ctx context.Context, home, value string) (err error) {
	n.Item, n.Sealed = "", nil
	if n.Where == "" {
		if n.Where = InFile; keyringThere(ctx) == nil {
			n.Where = InKeyring
		}
	}
	switch n.Where {
	case InCommand:
		return nil
	case InKeyring:
		n.Item = n.Name + "-" + rand.Text() // two homes have one keyring
		return keyringSet(ctx, n.Item, value)
	case InFile:
		n.Sealed, err = seal(home, value)
		return err
	}
	return errs.New(errs.ErrUsage, "no place for secrets is called %q", n.Where).Hint("choose keyring or file")
}

// drop removes the value of n from where it is beside the record.
func (n *Secret) drop(ctx context.Context) error {
	if n.Item == "" {
		return nil
	}
	return keyringDelete(ctx, n.Item)
}

func (n *Secret) value(ctx context.Context, home string) (string, error) {
	switch n.Where {
	case InCommand:
		return Run(ctx, n.Dir, n.Command)
	case InKeyring:
		return keyringGet(ctx, n.Item)
	}
	return open(home, n.Sealed)
}

const (
	// runWait is how long a command may take to print a value, maxStderr how much of what it says about an error is kept.
	runWait   = 30 * time.Second
	maxStderr = 500

	commandHint = "it is run by sh, without a terminal and without input, and prints the value alone"
)

// Run returns what a command prints, without the newline at its end. It is run by sh in the directory dir, or in / where
// that is gone, in the environment of noid, without input and without a terminal. One that takes too long is killed with
// the processes that it has started.
func Run(ctx context.Context, dir, command string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, runWait)
	defer cancel()
	out, diag := &limited{max: grant.MaxValue + 2, fails: true}, &limited{max: maxStderr}
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = out, diag, time.Second
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		dir = "/"
	}
	cmd.Dir, cmd.SysProcAttr = dir, &unix.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return "", errs.New(errs.ErrTimeout, "the command %q has not ended after %v: %w", command, runWait, ctx.Err()).Hint(commandHint)
	case errors.Is(err, exec.ErrWaitDelay):
		cmd.Cancel()
		return "", errs.New(nil, "the command %q leaves a process that may print more", command).Hint("have it wait for what it starts")
	case out.full:
		return "", errs.New(errs.ErrUsage, "the command %q prints more than a value: %d bytes are allowed", command, grant.MaxValue).Hint(commandHint)
	case err != nil:
		if said := bytes.TrimSpace(diag.kept); len(said) > 0 {
			err = fmt.Errorf("%w: %s", err, untrusted.Text(said))
		}
		return "", errs.New(nil, "the command %q: %w", command, err).Hint(commandHint)
	}
	return Line(out.kept), nil
}

// Line is what was read as a value, without the newline at its end.
func Line(data []byte) string {
	return strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
}

// limited keeps the first bytes that are written to it. At more it is full, and fails if it is to.
type limited struct {
	kept        []byte
	max         int
	fails, full bool
}

func (l *limited) Write(p []byte) (int, error) {
	fits := min(len(p), l.max-len(l.kept))
	l.kept = append(l.kept, p[:fits]...)
	if l.full = l.full || fits < len(p); l.full && l.fails {
		return fits, io.ErrShortWrite
	}
	return len(p), nil
}

// KeyPath is the file of the key that encrypts values: NOID_SECRET_KEY, or secret.key in the user's configuration. One in
// the home is errs.ErrUsage, whoever copies the home would have both, and so is a relative path.
func KeyPath(home string) (string, error) {
	path := os.Getenv("NOID_SECRET_KEY")
	if path == "" {
		dir, err := os.UserConfigDir()
		if err != nil {
			return "", errs.New(errs.ErrHost, "finding a place for the key of secrets: %w", err).Hint("set NOID_SECRET_KEY to a file outside noid's home")
		}
		path = filepath.Join(dir, "noid", "secret.key")
	}
	if !filepath.IsAbs(path) { // a VM's helper has another directory
		return "", errs.New(errs.ErrUsage, "the key of secrets has a relative path: %s", path).Hint("set NOID_SECRET_KEY to an absolute one")
	}
	if rel, err := filepath.Rel(real(home), filepath.Join(real(filepath.Dir(path)), filepath.Base(path))); err == nil && filepath.IsLocal(rel) {
		return "", errs.New(errs.ErrUsage, "the key of secrets, %s, would be in noid's home beside them", path).Hint("set NOID_SECRET_KEY to a file outside it")
	}
	return path, nil
}

// real is path without links, as far as it is there.
func real(path string) string {
	if r, err := filepath.EvalSymlinks(path); err == nil {
		return r
	}
	if parent := filepath.Dir(path); parent != path {
		return filepath.Join(real(parent), filepath.Base(path))
	}
	return path
}

// key reads the key, and makes one if there is none and made is true.
func key(home string, made bool) (*age.X25519Identity, error) {
	path, err := KeyPath(home)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && made {
		if text, err = makeKey(path); err != nil {
			return nil, err
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errs.New(errs.ErrHost, "the key of secrets is not there: %w", err).Hint("bring it back, or set the secret again")
	} else if err != nil {
		return nil, err
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
		return nil, errs.New(errs.ErrHost, "others may read the key of secrets, %s", path).Hint("chmod 600 " + path)
	}
	for line := range strings.Lines(string(text)) {
		if id, err := age.ParseX25519Identity(strings.TrimSpace(line)); err == nil {
			return id, nil
		}
	}
	return nil, errs.New(errs.ErrHost, "there is no key of age in %s", path)
}

func makeKey(path string) ([]byte, error) {
	id, err := age.GenerateX25519Identity()
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o700)
	}
	if err == nil {
		err = storage.WriteOnce(path, 0o600, func(f *os.File) error {
			_, err := fmt.Fprintf(f, "# noid encrypts secrets with this key. Keep it apart from noid's home.\n%s\n", id)
			return err
		})
	}
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path) // another noid's perhaps
}

func seal(home, value string) ([]byte, error) {
	id, err := key(home, true)
	if err != nil {
		return nil, err
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, id.Recipient())
	if err == nil {
		_, err = io.WriteString(w, value)
	}
	if err == nil {
		err = w.Close()
	}
	return sealed.Bytes(), err
}

func open(home string, sealed []byte) (string, error) {
	id, err := key(home, false)
	if err != nil {
		return "", err
	}
	r, err := age.Decrypt(bytes.NewReader(sealed), id)
	if err != nil {
		path, _ := KeyPath(home)
		return "", errs.New(errs.ErrHost, "the key in %s does not open it: %w", path, err).Hint("bring the key back that it was set with, or set the secret again")
	}
	value, err := io.ReadAll(io.LimitReader(r, grant.MaxValue+1))
	return string(value), err
}
