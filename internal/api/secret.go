package api

import (
	"time"

	"noid/internal/secret"
)

// Secret is a secret, without its value.
type Secret struct {
	Name        string    `json:"name"`
	Hosts       []string  `json:"hosts"`
	Header      string    `json:"header"`
	Allow       []string  `json:"allow"`
	Body        bool      `json:"body"`
	Placeholder string    `json:"placeholder"`
	Where       string    `json:"where"`
	Command     string    `json:"command,omitempty"`
	Set         time.Time `json:"set"`
}

// SecretOf is s.
func SecretOf(s secret.Secret) Secret {
	return Secret{s.Name, append([]string{}, s.Hosts...), s.Header, append([]string{}, s.Allow...), s.Body, s.Placeholder, s.Where, s.Command, s.Set}
}
