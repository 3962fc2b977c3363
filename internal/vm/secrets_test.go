package vm

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"noid/internal/errs"
	"noid/internal/network"
	"noid/internal/network/control"
	"noid/internal/network/grant"
	"noid/internal/secret"
)

// keepSecret keeps a secret of w's home.
func (w *world) keepSecret(name, value string) {
	w.Helper()
	n := secret.Secret{Name: name, Rules: grant.Rules{Hosts: []string{"api.example.test"}}, Where: secret.InFile}
	_, err := w.m.secrets().Put(w.Context(), n, value)
	must(w.T, err)
}

// TestSecrets: a VM has the secrets it was made with or granted, over stop, start and restore in place; a clone has none.
func TestSecrets(t *testing.T) {
	w := newWorld(t)
	t.Setenv("NOID_SECRET_KEY", t.TempDir()+"/key")
	w.keepSecret("A", "value-of-a-123456")
	w.keepSecret("B", "value-of-b-123456")
	options := CreateOptions{Name: "a", NoAgent: true, Net: NetOptions{Network: "open", Secrets: []string{"A", "NONE"}}}
	if err := w.m.Create(t.Context(), options); !errors.Is(err, errs.ErrNotFound) {
		t.Errorf("with a secret that is none: %v", err)
	}
	options.Net.Secrets = []string{"A"}
	must(t, w.m.Create(t.Context(), options))
	if err := w.m.Create(t.Context(), CreateOptions{Name: "x", Net: NetOptions{Network: "none", Secrets: []string{"A"}}}); !errors.Is(err, errs.ErrUsage) {
		t.Errorf("without a network: %v", err)
	}
	_, err := w.m.Checkpoint(t.Context(), "a", "old")
	must(t, err)
	_, err = w.m.Fork(t.Context(), "a", "", ForkOptions{As: "b"}, func(string, error) {})
	must(t, err)
	if got := w.net("b").Secrets; got != nil {
		t.Errorf("a clone has %q", got)
	}

	must(t, w.m.Restore(t.Context(), "a", "old", RestoreOptions{As: "c", Secrets: []string{"B"}}))
	if got := w.net("c").Secrets; !slices.Equal(got, []string{"B"}) {
		t.Errorf("a clone that is to have B has %q", got)
	}

	var mu sync.Mutex
	var told []string
	w.netHelper("a", func(r control.Request, c network.Config) control.Answer {
		mu.Lock()
		defer mu.Unlock()
		text := string(r.Op) + " " + strings.Join(c.Secrets, ",")
		if r.Secrets != nil {
			for _, g := range r.Secrets.Grants {
				text += " " + g.Secret + "=" + g.Value
			}
		}
		told = append(told, text)
		return control.Answer{}
	})
	must(t, w.m.GrantSecrets(t.Context(), "a", []string{"B", "A"}))
	w.keepSecret("B", "newer-of-b-123456")
	w.m.RenewSecret(t.Context(), "B")
	w.m.RenewSecret(t.Context(), "OTHER")
	_, err = w.m.secrets().Put(t.Context(), secret.Secret{Name: "FAILS", Rules: grant.Rules{Hosts: []string{"api.example.test"}}, Where: secret.InCommand, Command: "exit 3"}, "value-of-f-123456")
	must(t, err)
	if err := w.m.GrantSecrets(t.Context(), "a", []string{"FAILS"}); err == nil || errs.Hint(err) == "" || slices.Contains(w.net("a").Secrets, "FAILS") {
		t.Errorf("whose command fails: %v, %q", err, w.net("a").Secrets)
	}
	must(t, w.m.RevokeSecrets(t.Context(), "a", []string{"A"}))
	if err := w.m.RevokeSecrets(t.Context(), "a", []string{"A"}); !errors.Is(err, errs.ErrNotFound) {
		t.Errorf("revoked again: %v", err)
	}
	want := []string{
		"reload A,B", "secrets A,B B=value-of-b-123456 A=value-of-a-123456",
		"reload A,B", "secrets A,B B=newer-of-b-123456",
		"reload B",
		"reload B", // revoked again: whoever did it may have been killed before
	}
	if mu.Lock(); !slices.Equal(told, want) {
		t.Errorf("the network helper was told %q, want %q", told, want)
	}
	mu.Unlock()
	must(t, w.m.Stop(t.Context(), "a", true))
	must(t, w.m.Start(t.Context(), "a"))
	if got := w.net("a").Secrets; !slices.Equal(got, []string{"B"}) {
		t.Errorf("after stop and start it has %q", got)
	}
	if err := w.m.GrantSecrets(t.Context(), "none", []string{"A"}); !errors.Is(err, errs.ErrNotFound) {
		t.Errorf("no such vm: %v", err)
	}
}

// TestRemoveSecretGranted: a secret that a VM is granted while it is being removed is taken from that VM too.
func TestRemoveSecretGranted(t *testing.T) {
	w := newWorld(t)
	t.Setenv("NOID_SECRET_KEY", t.TempDir()+"/key")
	w.keepSecret("A", "value-of-a-123456")
	must(t, w.m.Create(t.Context(), CreateOptions{Name: "a", NoAgent: true, Net: NetOptions{Network: "open"}}))
	must(t, w.m.Create(t.Context(), CreateOptions{Name: "b", NoAgent: true, Net: NetOptions{Network: "open", Secrets: []string{"A"}}}))
	granted := w.net("a")
	granted.Secrets = []string{"A"}
	w.netHelper("a", func(control.Request, network.Config) control.Answer { return control.Answer{} })
	w.netHelper("b", func(control.Request, network.Config) (a control.Answer) { // a has been looked at
		if err := granted.Save(w.dir("a")); err != nil {
			a.Error = err.Error()
		}
		return a
	})
	must(t, w.m.RemoveSecret(t.Context(), "A"))
	for _, name := range []string{"a", "b"} {
		if got := w.net(name).Secrets; len(got) > 0 {
			t.Errorf("vm %q has %q", name, got)
		}
	}
}
