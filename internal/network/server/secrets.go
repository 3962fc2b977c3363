package server

import (
	"errors"
	"slices"

	"noid/internal/network/ca"
	"noid/internal/network/control"
	"noid/internal/network/grant"
)

// secrets are what noid gave this helper.
type secrets struct {
	authority *ca.Authority
	grants    []grant.Grant
}

// setSecrets has given hold in place of the secrets before.
func (s *Server) setSecrets(given *control.Secrets) error {
	if given == nil || len(given.Grants) > grant.MaxGrants {
		return errors.New("no secrets, or too many")
	}
	now := &secrets{grants: given.Grants}
	if len(now.grants) > 0 {
		var err error
		if now.authority, err = ca.Parse(given.CertPEM, given.KeyPEM); err != nil {
			return err
		}
	}
	for _, g := range now.grants {
		if err := errors.Join(g.Check(), grant.CheckValue(g.Value)); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets = now
	s.grant()
	return nil
}

// grant has those secrets be used that the configuration names. The caller has s.mu.
func (s *Server) grant() {
	if s.secrets == nil {
		return
	}
	names := s.policy.Load().config.Secrets
	s.https.Set(s.secrets.authority, slices.DeleteFunc(slices.Clone(s.secrets.grants), func(g grant.Grant) bool {
		return !slices.Contains(names, g.Secret)
	}))
}
