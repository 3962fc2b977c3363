package vm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"

	"noid/internal/errs"
	"noid/internal/link"
	"noid/internal/link/wire"
	"noid/internal/network"
	"noid/internal/network/ca"
	"noid/internal/network/control"
	"noid/internal/network/grant"
	"noid/internal/secret"
	"noid/internal/storage"
	"noid/internal/untrusted"
)

// trustedFile, in a VM's directory, is there once its guest trusts the authorities whose sum is in it. A VM that was put
// back, and a clone, have another directory.
const trustedFile = "net.trusted"

// maxTrust bounds what a guest is told of the authorities that this host trusts, in bytes.
const maxTrust = 4 << 20

// trusted is where distributions have the authorities that they trust in one file.
var trusted = []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"}

func (m *Manager) secrets() secret.Store { return secret.Store{Dir: m.Home.Dir()} }

// addSecrets returns have with the names of secrets that are there.
func (m *Manager) addSecrets(have, names []string) ([]string, error) {
	for _, name := range names {
		if _, err := m.secrets().Get(name); err != nil {
			return nil, err
		}
		if !slices.Contains(have, name) {
			have = append(have, name)
		}
	}
	if len(have) > grant.MaxGrants {
		return nil, errs.New(errs.ErrUsage, "a vm has at most %d secrets", grant.MaxGrants)
	}
	return have, nil
}

// GrantSecrets lets the VM name use secrets, at once. Commands that run already do not have their variables. If the value
// of one cannot be had, the VM gets none.
func (m *Manager) GrantSecrets(ctx context.Context, name string, names []string) error {
	return m.changeSecrets(ctx, name, names, func(c *network.Config) (err error) {
		c.Secrets, err = m.addSecrets(c.Secrets, names)
		return err
	})
}

// RevokeSecrets takes secrets from the VM name, at once. One that it does not have is errs.ErrNotFound.
func (m *Manager) RevokeSecrets(ctx context.Context, name string, names []string) error {
	return m.changeSecrets(ctx, name, nil, func(c *network.Config) error {
		for _, gone := range names {
			if !slices.Contains(c.Secrets, gone) {
				return errs.New(errs.ErrNotFound, "vm %q has no secret %q", name, gone).Hint("'noid net ls " + name + "' lists its secrets")
			}
			c.Secrets = slices.DeleteFunc(c.Secrets, func(s string) bool { return s == gone })
		}
		return nil
	})
}

// changeSecrets changes the network of the VM name, and gives its network helper the secrets that are new.
func (m *Manager) changeSecrets(ctx context.Context, name string, new []string, change func(*network.Config) error) error {
	s, c, err := m.openNet(ctx, name, "secret")
	if err != nil {
		return err
	}
	defer s.close()
	if err := change(&c); err != nil {
		return s.done(ctx, err)
	}
	given, err := s.values(ctx, new)
	if err != nil {
		return s.errNet(err)
	}
	if err := c.Save(s.dir); err != nil {
		return err
	}
	return s.errNet(s.giveSecrets(ctx, given))
}

// values are what the secrets names are now, for the network helper of a VM that runs. They are nil for another.
func (s *session) values(ctx context.Context, names []string) (*control.Secrets, error) {
	if len(names) == 0 || !s.vm.Process.Alive() {
		return nil, nil
	}
	return s.secrets().Give(ctx, names)
}

// giveSecrets has the VM's network helper, if it runs, go by the VM's configuration, and gives it the secrets given.
func (s *session) giveSecrets(ctx context.Context, given *control.Secrets) error {
	if _, err := s.reload(ctx); err != nil || given == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, networkWait)
	defer cancel()
	_, err := s.control().Ask(ctx, control.Request{Op: control.SetSecrets, Secrets: given})
	return err
}

// RemoveSecret takes the secret name from every VM that has it, and then forgets it. While a VM's configuration still
// has it, it is there; a network helper that does not answer is a warning.
func (m *Manager) RemoveSecret(ctx context.Context, name string) error {
	if _, err := m.secrets().Get(name); errors.Is(err, errs.ErrNotFound) || errors.Is(err, errs.ErrUsage) {
		return err
	} // a damaged one goes too
	if err := m.revokeEverywhere(ctx, name); err != nil {
		return fmt.Errorf("secret %q is still there: %w", name, err)
	}
	if err := m.secrets().Remove(ctx, name); err != nil {
		return err
	}
	if err := m.revokeEverywhere(ctx, name); err != nil { // what was granted meanwhile
		return fmt.Errorf("secret %q is gone, but not from every vm: %w", name, err)
	}
	return nil
}

// revokeEverywhere takes the secret name from every VM that has it. A network helper that does not answer is a warning.
func (m *Manager) revokeEverywhere(ctx context.Context, name string) error {
	vms, err := m.Home.VMNames()
	if err != nil {
		return err
	}
	var problems []error
	for _, vm := range vms {
		if c, err := network.Load(m.Home.VMDir(vm)); err == nil && slices.Contains(c.Secrets, name) {
			err := m.RevokeSecrets(ctx, vm, []string{name})
			if c, lost := network.Load(m.Home.VMDir(vm)); err != nil && lost == nil && !slices.Contains(c.Secrets, name) {
				m.warn(err.Error())
				err = nil
			}
			problems = append(problems, err)
		}
	}
	return errs.Join(problems...)
}

// RenewSecret tells the network helpers of all running VMs that may use the secret name what it is now. What goes wrong
// with one VM is a warning.
func (m *Manager) RenewSecret(ctx context.Context, name string) {
	names, err := m.Home.VMNames()
	if err != nil {
		m.warn(err.Error())
	}
	for _, vm := range names {
		c, err := network.Load(m.Home.VMDir(vm))
		if err != nil || !slices.Contains(c.Secrets, name) {
			continue
		}
		s, err := m.look(vm, "secret")
		if err == nil {
			given, problem := s.values(ctx, []string{name})
			err = errs.Join(problem, s.giveSecrets(ctx, given))
		}
		if err != nil {
			m.warn(fmt.Sprintf("vm %q still has secret %q as it was: %v", vm, name, err))
		}
	}
}

// secretEnv is what a command has in its environment of the VM's secrets: placeholders, and where the authorities are
// that the guest is to trust, which it is told here for the first time. A secret that is gone is left out.
func (s *session) secretEnv(ctx context.Context, client *link.Client) ([]string, error) {
	c, err := network.Load(s.dir)
	if err != nil { // a damaged configuration is the network's business
		return nil, nil
	}
	var list []secret.Secret
	for _, name := range c.Secrets {
		if got, err := s.secrets().Get(name); err == nil {
			list = append(list, got)
		}
	}
	authorities, err := s.authorities(c)
	if err != nil || len(authorities) == 0 {
		return nil, err
	}
	if err := s.trust(ctx, client, authorities); err != nil {
		return nil, err
	}
	return secret.Environment(list, true), nil
}

// authorities are those that the VM's guest is to trust beside its own: the home's if it has secrets, and this host's if
// they are asked for.
func (s *session) authorities(c network.Config) (list []*x509.Certificate, err error) {
	if len(c.Secrets) > 0 {
		a, err := s.secrets().Authority()
		if err != nil {
			return nil, err
		}
		list = append(list, a.Certificate())
	}
	more, err := hostAuthorities(c.HostCA)
	if err != nil { // the guest goes on with those that it knows
		s.warn(err.Error())
	}
	return append(list, more...), nil
}

// trust has the guest trust authorities, once.
func (s *session) trust(ctx context.Context, client *link.Client, authorities []*x509.Certificate) error {
	argv := []string{"trust"}
	var text []byte
	for _, a := range authorities {
		hash, err := ca.Hash(a)
		if err != nil {
			return fmt.Errorf("the authority %q: %w", a.Subject, err)
		}
		argv = append(argv, hash)
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Raw})...)
	}
	mark := fmt.Sprintf("%x", sha256.Sum256(text))
	if done, err := os.ReadFile(s.file(trustedFile)); err == nil && string(done) == mark {
		return nil
	}
	said := &guestText{}
	exit, err := client.Exec(ctx, wire.Exec{Tool: true, Stdin: true, Argv: byteSlices(argv)},
		link.Streams{In: bytes.NewReader(append(text, hostTrusts()...)), Out: said, Err: said})
	if err == nil && exit.Code != 0 {
		err = errors.New("the guest says: " + untrusted.Line(said.text.String(), 500))
	}
	if err != nil {
		return fmt.Errorf("having the guest trust noid's authority: %w", err)
	}
	for _, line := range said.lines() {
		s.warn(line)
	}
	return storage.WriteFile(s.file(trustedFile), []byte(mark), 0o600)
}

// hostTrusts are the authorities that this host trusts, for guests that have no list of their own.
func hostTrusts() []byte {
	for _, path := range trusted {
		if info, err := os.Stat(path); err == nil && info.Size() < maxTrust {
			if data, err := os.ReadFile(path); err == nil {
				return data
			}
		}
	}
	return nil
}
