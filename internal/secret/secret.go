// Package secret keeps the secrets of a home. A value is in the host's keyring, or comes from a command each time, or is
// encrypted in the home, with a key outside it. The rest of a secret, also its placeholder, is in a record in the home.
package secret

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"noid/internal/errs"
	"noid/internal/manifest"
	"noid/internal/network/grant"
	"noid/internal/storage"
)

// Where the value of a secret is.
const (
	InKeyring = "keyring" // of the desktop: the Secret Service
	InFile    = "file"    // in the record, encrypted
	InCommand = "command" // it prints the value
)

// Secret is the record of one.
type Secret struct {
	Format int    `json:"format"`
	Name   string `json:"name"` // also of the variable in guests
	grant.Rules
	// Placeholder is what guests have. It stays when the value changes: it is in the memory of their checkpoints.
	Placeholder string    `json:"placeholder"`
	Where       string    `json:"where"`
	Item        string    `json:"item,omitempty"`    // in the keyring
	Sealed      []byte    `json:"sealed,omitempty"`  // by age
	Command     string    `json:"command,omitempty"` // for sh -c
	Dir         string    `json:"dir,omitempty"`     // where it is run
	Set         time.Time `json:"set"`
}

// format is the version of a record.
const format = 1

// Store is the secrets of the home in Dir. Their directory is made with the first of them.
type Store struct{ Dir string }

func (s Store) dir() string               { return filepath.Join(s.Dir, "secrets") }
func (s Store) record(name string) string { return filepath.Join(s.dir(), name+".json") }

// CheckName accepts the name of a variable that no program in a guest takes for something else. What it refuses is
// errs.ErrUsage.
func CheckName(name string) error {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"
	if name == "" || len(name) > 63 || strings.Trim(name, letters+"0123456789") != "" || !strings.Contains(letters, name[:1]) {
		return errs.New(errs.ErrUsage, "not a name for a secret: %.80q", name).Hint("it names a variable: 1 to 63 letters, digits and '_', the first no digit")
	}
	if slices.Contains(TrustVariables, name) || slices.Contains([]string{"PATH", "HOME", "USER", "SHELL", "TERM", "LD_PRELOAD", "LD_LIBRARY_PATH"}, name) {
		return errs.New(errs.ErrUsage, "not a name for a secret: %q: programs in guests read that variable", name).Hint("choose another name")
	}
	return nil
}

// Get returns the secret name, without its value.
func (s Store) Get(name string) (Secret, error) {
	if err := CheckName(name); err != nil {
		return Secret{}, err
	}
	data, _, err := manifest.Read(s.record(name))
	if errors.Is(err, fs.ErrNotExist) {
		return Secret{}, errs.New(errs.ErrNotFound, "no secret %q", name).Hint("'noid secret ls' lists them, 'noid secret set " + name + " --host HOST' makes it")
	}
	var got Secret
	if err == nil {
		err = json.Unmarshal(data, &got)
	}
	switch {
	case err != nil:
	case got.Format > format:
		err = errs.New(errs.ErrHost, "a newer noid wrote it").Hint("upgrade noid")
	case got.Name != name || got.Placeholder == "":
		err = errors.New("it is not the record of this secret")
	default:
		err = got.Check()
	}
	if err != nil {
		return Secret{}, fmt.Errorf("secret %q: %s: %w", name, s.record(name), err)
	}
	return got, nil
}

// List returns all secrets by their names. Damaged ones are left out, and are in the error.
func (s Store) List() (list []Secret, err error) {
	entries, err := os.ReadDir(s.dir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("listing secrets: %w", err)
	}
	var problems []error
	for _, e := range entries {
		name, isRecord := strings.CutSuffix(e.Name(), ".json")
		if !isRecord || CheckName(name) != nil { // of a killed writer
			continue
		}
		got, err := s.Get(name)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		list = append(list, got)
	}
	return list, errs.Join(problems...)
}

// Put keeps value as that of n, in n.Where: "" is the keyring, or a file where there is none. n has a Command for
// InCommand, and value is then what that has printed. Where there is such a secret already, its rules and its value are
// replaced, and its placeholder stays. It returns what is kept now.
func (s Store) Put(ctx context.Context, n Secret, value string) (Secret, error) {
	if err := errs.Join(CheckName(n.Name), n.Check(), grant.CheckValue(value)); err != nil {
		return Secret{}, err
	}
	old, err := s.Get(n.Name)
	if err != nil && !errors.Is(err, errs.ErrNotFound) {
		return Secret{}, err
	}
	if value == old.Placeholder {
		return Secret{}, errs.New(errs.ErrUsage, "that is the placeholder of %s, which guests have, and not its value", n.Name).Hint("give the value that its host knows")
	}
	n.Format, n.Set = format, time.Now().UTC().Truncate(time.Second)
	n.Placeholder = cmp.Or(old.Placeholder, grant.NewPlaceholder(value))
	if err := n.keep(ctx, s.Dir, value); err != nil {
		return Secret{}, fmt.Errorf("secret %q: %w", n.Name, err)
	}
	if err := os.MkdirAll(s.dir(), 0o700); err != nil {
		return Secret{}, err
	}
	data, err := manifest.Encode(n)
	if err == nil {
		err = storage.WriteFile(s.record(n.Name), data, 0o600)
	}
	if err != nil {
		n.drop(ctx)
		return Secret{}, fmt.Errorf("secret %q: %w", n.Name, err)
	}
	old.drop(ctx) // a keyring that cannot is no reason to keep the old one
	return n, nil
}

// Remove forgets the secret and its value.
func (s Store) Remove(ctx context.Context, name string) error {
	old, err := s.Get(name)
	if errors.Is(err, errs.ErrNotFound) || errors.Is(err, errs.ErrUsage) {
		return err
	} // a damaged one goes too
	if err := os.Remove(s.record(name)); err != nil {
		return fmt.Errorf("secret %q: %w", name, err)
	}
	storage.RemoveTemp(s.record(name))
	if err := storage.SyncDir(s.dir()); err != nil {
		return err
	}
	if err := old.drop(ctx); err != nil {
		return fmt.Errorf("secret %q is removed, but its value is still in the keyring: %w", name, err)
	}
	return nil
}

// Grant returns the secret name with its value, for a VM that has it.
func (s Store) Grant(ctx context.Context, name string) (grant.Grant, error) {
	got, err := s.Get(name)
	if err != nil {
		return grant.Grant{}, err
	}
	value, err := got.value(ctx, s.Dir)
	if err == nil {
		err = grant.CheckValue(value)
	}
	if err != nil {
		return grant.Grant{}, fmt.Errorf("secret %q: %w", name, err)
	}
	return grant.Grant{Secret: name, Rules: got.Rules, Placeholder: got.Placeholder, Value: value}, nil
}
