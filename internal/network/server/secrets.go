package server

import (
	"errors"
	"maps"
	"slices"

	"noid/internal/network/ca"
	"noid/internal/network/control"
	"noid/internal/network/grant"
)

// secrets are what noid gave this helper.
type secrets struct {
	authority *ca.Authority
	grants    map[string]given // by the secret's name
}

type given struct {
	grant.Grant
	began int64
}

// setSecrets adds to what noid has given before. Several noids may give at the same time: the one that has looked later
// knows better.
func (s *Server) setSecrets(now *control.Secrets) error {
	if now == nil || len(now.Grants) > grant.MaxGrants {
		return errors.New("no secrets, or too many")
	}
	var authority *ca.Authority
	if len(now.Grants) > 0 {
		var err error
		if authority, err = ca.Parse(now.CertPEM, now.KeyPEM); err != nil {
			return err
		}
	}
	for _, g := range now.Grants {
		if err := errors.Join(g.Check(), grant.CheckValue(g.Value)); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.secrets == nil {
		s.secrets = &secrets{grants: map[string]given{}}
	}
	if authority != nil {
		s.secrets.authority = authority
	}
	for _, g := range now.Grants {
		if s.secrets.grants[g.Secret].began <= now.Began {
			s.secrets.grants[g.Secret] = given{g, now.Began}
		}
	}
	s.grant()
	return nil
}

// grant has those secrets be used that the configuration names, and forgets the others. The caller has s.mu.
func (s *Server) grant() {
	if s.secrets == nil {
		return
	}
	names := s.policy.Load().config.Secrets
	maps.DeleteFunc(s.secrets.grants, func(name string, _ given) bool { return !slices.Contains(names, name) })
	var list []grant.Grant
	for _, name := range names { // in their order: of two for one header the first counts
		if g, ok := s.secrets.grants[name]; ok {
			list = append(list, g.Grant)
		}
	}
	s.https.Set(s.secrets.authority, list)
}
