package secret

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/manifest"
	"noid/internal/network/ca"
	"noid/internal/network/control"
	"noid/internal/storage"
)

// GuestBundle, in a guest, has the authorities that it trusts and those that noid has added; GuestAuthority has these
// alone.
const (
	GuestBundle    = "/etc/ssl/noid-bundle.pem"
	GuestAuthority = "/etc/ssl/noid-ca.pem"
)

// TrustVariables name GuestBundle to programs that do not look at a system's authorities, the last one GuestAuthority.
var TrustVariables = []string{"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "GIT_SSL_CAINFO", "AWS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"}

// Environment is what a guest's commands have in their environment of the secrets that its VM may use: placeholders, and
// where the authorities are that noid has added to those that the guest trusts, if it has.
func Environment(list []Secret, trusts bool) (env []string) {
	for _, s := range list {
		env = append(env, s.Name+"="+s.Placeholder)
	}
	if !trusts {
		return env
	}
	for _, name := range TrustVariables[:len(TrustVariables)-1] {
		env = append(env, name+"="+GuestBundle)
	}
	return append(env, TrustVariables[len(TrustVariables)-1]+"="+GuestAuthority)
}

// Authority returns the home's, which is made once. Its key is in the home: whoever has it can deceive this home's
// guests, and nobody else.
func (s Store) Authority() (*ca.Authority, error) {
	path := filepath.Join(s.Dir, "ca.pem")
	data, _, err := manifest.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeAuthority(path); err == nil {
			data, _, err = manifest.Read(path)
		}
	}
	var a *ca.Authority
	if err == nil {
		a, err = ca.Parse(data, data)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return a, nil
}

func makeAuthority(path string) error {
	a, err := ca.New(time.Now())
	if err != nil {
		return err
	}
	return storage.WriteOnce(path, 0o600, func(f *os.File) error {
		_, err := f.Write(append(a.CertPEM, a.KeyPEM...))
		return err
	})
}

// Give returns what the network helper of a VM is told of the secrets that the VM may use. One whose value cannot be
// had is left out, and is in the error.
func (s Store) Give(ctx context.Context, names []string) (*control.Secrets, error) {
	if len(names) == 0 {
		return &control.Secrets{}, nil
	}
	began, err := sinceBoot()
	if err != nil {
		return nil, err
	}
	a, err := s.Authority()
	if err != nil {
		return nil, err
	}
	given := &control.Secrets{CertPEM: a.CertPEM, KeyPEM: a.KeyPEM, Began: began}
	var problems []error
	for _, name := range names {
		g, err := s.Grant(ctx, name)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		given.Grants = append(given.Grants, g)
	}
	return given, errs.Join(problems...)
}

// sinceBoot is in nanoseconds, by a clock that nobody sets.
func sinceBoot() (int64, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0, fmt.Errorf("reading the clock: %w", err)
	}
	return now.Nano(), nil
}

// Changing returns those of names whose values may become other ones without noid knowing: a command prints them.
func (s Store) Changing(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		got, err := s.Get(name)
		return err != nil || got.Where != InCommand
	})
}
