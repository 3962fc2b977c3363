package secret

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/zalando/go-keyring"

	"noid/internal/errs"
	"noid/internal/network/ca"
	"noid/internal/network/grant"
)

const value = "ghp_16C7e42F292c6912E7710c838347Ae178B4a"

// newStore is of a home without a keyring, with the key of values elsewhere.
func newStore(t *testing.T) Store {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("NOID_SECRET_KEY", "")
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(dir, "config"))
	home := filepath.Join(dir, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	return Store{home}
}

func of(name string) Secret {
	return Secret{Name: name, Rules: grant.Rules{Hosts: []string{"api.example.test"}}, Where: InFile}
}

// nowhere fails if a file below dir has text in it.
func nowhere(t *testing.T, dir, text string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, _ := d.Info()
		data, err := os.ReadFile(path)
		for _, form := range grant.Forms(text) {
			if bytes.Contains(data, []byte(form)) {
				t.Errorf("%s has the value", path)
			}
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestFile keeps a value encrypted, and its placeholder when the value changes.
func TestFile(t *testing.T) {
	s := newStore(t)
	first, err := s.Put(t.Context(), of("TOKEN"), value)
	if err != nil {
		t.Fatal(err)
	}
	nowhere(t, filepath.Dir(s.Dir), value)
	g, err := s.Grant(t.Context(), "TOKEN")
	if err != nil || g.Value != value || g.Placeholder != first.Placeholder || !g.For("api.example.test", 443) {
		t.Errorf("%+v, %v", g, err)
	}
	other := of("TOKEN")
	other.Hosts = []string{"B.example.test:8443"}
	second, err := s.Put(t.Context(), other, "another-value-123456")
	if err != nil || second.Placeholder != first.Placeholder {
		t.Errorf("%+v, %v", second, err)
	}
	if g, err = s.Grant(t.Context(), "TOKEN"); err != nil || g.Value != "another-value-123456" || !slices.Equal(g.Hosts, []string{"b.example.test:8443"}) {
		t.Errorf("%+v, %v", g, err)
	}
	if _, err := s.Put(t.Context(), of("TOKEN"), first.Placeholder); !errors.Is(err, errs.ErrUsage) {
		t.Errorf("the placeholder as value: %v", err)
	}
	if list, err := s.List(); err != nil || len(list) != 1 || list[0].Name != "TOKEN" {
		t.Errorf("%v, %v", list, err)
	}
	if err := s.Remove(t.Context(), "TOKEN"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Grant(t.Context(), "TOKEN"); !errors.Is(err, errs.ErrNotFound) {
		t.Errorf("after its end: %v", err)
	}
	if err := s.Remove(t.Context(), "TOKEN"); !errors.Is(err, errs.ErrNotFound) {
		t.Errorf("its end again: %v", err)
	}
}

// TestKey is made once, outside the home, for its user alone.
func TestKey(t *testing.T) {
	s := newStore(t)
	put := func() error {
		_, err := s.Put(t.Context(), of("TOKEN"), value)
		return err
	}
	for _, inside := range []string{filepath.Join(s.Dir, "key"), filepath.Join(s.Dir, "new", "key")} {
		if t.Setenv("NOID_SECRET_KEY", inside); !errors.Is(put(), errs.ErrUsage) {
			t.Errorf("a key in the home is accepted: %s", inside)
		}
	}
	if t.Setenv("NOID_SECRET_KEY", "key"); !errors.Is(put(), errs.ErrUsage) {
		t.Error("a relative path is accepted")
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(s.Dir, link); err != nil {
		t.Fatal(err)
	}
	if t.Setenv("NOID_SECRET_KEY", filepath.Join(link, "key")); !errors.Is(put(), errs.ErrUsage) {
		t.Error("a key in the home is accepted by another name")
	}
	path := filepath.Join(t.TempDir(), "sub", "key")
	t.Setenv("NOID_SECRET_KEY", path)
	if err := put(); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(path)
	if err := put(); err != nil {
		t.Fatal(err)
	}
	if after, _ := os.ReadFile(path); len(before) == 0 || !bytes.Equal(before, after) {
		t.Error("the key is another one")
	}
	grants := func() error {
		_, err := s.Grant(t.Context(), "TOKEN")
		return err
	}
	os.Chmod(path, 0o640)
	if err := grants(); !errors.Is(err, errs.ErrHost) || !strings.HasPrefix(errs.Hint(err), "chmod 600") {
		t.Errorf("a key for the group: %v", err)
	}
	for what, change := range map[string]func() error{
		"another": func() error { os.Remove(path); _, err := makeKey(path); return err },
		"none":    func() error { return nil },
		"no key":  func() error { return os.WriteFile(path, []byte("x\n"), 0o600) },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if err := grants(); !errors.Is(err, errs.ErrHost) {
			t.Errorf("%s: %v", what, err)
		}
		os.Remove(path)
	}
}

// TestCommand is run each time. It is not trusted to end, or to be brief.
func TestCommand(t *testing.T) {
	s := newStore(t)
	file := filepath.Join(t.TempDir(), "token")
	n := of("TOKEN")
	n.Where, n.Command = InCommand, "cat "+file
	for _, v := range []string{value, "another-value-123456"} {
		os.WriteFile(file, []byte(v+"\r\n"), 0o600)
		got, err := Run(t.Context(), "", n.Command)
		if err != nil || got != v {
			t.Fatalf("%q, %v", got, err)
		}
		if v == value {
			if _, err := s.Put(t.Context(), n, got); err != nil {
				t.Fatal(err)
			}
		}
		if g, err := s.Grant(t.Context(), "TOKEN"); err != nil || g.Value != v {
			t.Errorf("%+v, %v", g, err)
		}
	}
	nowhere(t, filepath.Dir(s.Dir), value)
	os.Remove(file)
	if _, err := s.Grant(t.Context(), "TOKEN"); err == nil || !strings.Contains(err.Error(), "No such file") {
		t.Errorf("a command that fails: %v", err)
	}
	if got, err := Run(t.Context(), "", "yes"); err == nil {
		t.Errorf("%d bytes", len(got))
	}
	if _, err := Run(t.Context(), "", "yes | head -c 100000 >&2; exit 3"); err == nil || len(err.Error()) > 2*maxStderr {
		t.Errorf("a long complaint: %.100v", err)
	}
}

// TestCommandDir is run where it was set, wherever who asks is, and in / when that is gone.
func TestCommandDir(t *testing.T) {
	s := newStore(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte("#!/bin/sh\necho "+value), 0o700); err != nil {
		t.Fatal(err)
	}
	n := of("TOKEN")
	n.Where, n.Command, n.Dir = InCommand, "./token", dir
	if _, err := s.Put(t.Context(), n, value); err != nil {
		t.Fatal(err)
	}
	if g, err := s.Grant(t.Context(), "TOKEN"); err != nil || g.Value != value {
		t.Errorf("%+v, %v", g, err)
	}
	for _, gone := range []string{"", filepath.Join(dir, "gone"), filepath.Join(dir, "token")} {
		if got, err := Run(t.Context(), gone, "pwd"); err != nil || got != "/" {
			t.Errorf("in %q: %q, %v", gone, got, err)
		}
	}
}

// TestCommandEnds kills what a command has started: when it takes too long, and when it has left something that may print
// more.
func TestCommandEnds(t *testing.T) {
	for command, want := range map[string]error{"sleep 1000 & echo $! >new; mv new pid; wait": errs.ErrTimeout, "sleep 1000 & echo $! >new; mv new pid": nil} {
		dir := t.TempDir()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ended := make(chan error)
		go func() { _, err := Run(ctx, dir, command); ended <- err }()
		pid := 0
		for pid == 0 {
			text, _ := os.ReadFile(filepath.Join(dir, "pid"))
			pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
			time.Sleep(time.Millisecond)
		}
		if want != nil {
			cancel()
		}
		if err := <-ended; err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%s: %v", command, err)
		}
		for { // it is init's to reap
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if err != nil || strings.Contains(string(stat), ") Z ") {
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// TestKeyring keeps a value in the keyring alone, and removes what it replaces.
func TestKeyring(t *testing.T) {
	s := newStore(t)
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent")
	keyring.MockInit()
	n := of("TOKEN")
	n.Where = ""
	first, err := s.Put(t.Context(), n, value)
	if err != nil || first.Where != InKeyring || first.Sealed != nil {
		t.Fatalf("%+v, %v", first, err)
	}
	nowhere(t, filepath.Dir(s.Dir), value)
	if g, err := s.Grant(t.Context(), "TOKEN"); err != nil || g.Value != value {
		t.Errorf("%+v, %v", g, err)
	}
	if _, err := s.Put(t.Context(), of("TOKEN"), value); err != nil {
		t.Fatal(err)
	}
	if _, err := keyring.Get(service, first.Item); !errors.Is(err, keyring.ErrNotFound) {
		t.Errorf("the old item: %v", err)
	}
	second, err := s.Put(t.Context(), n, value)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(t.Context(), "TOKEN"); err != nil {
		t.Fatal(err)
	}
	if _, err := keyring.Get(service, second.Item); !errors.Is(err, keyring.ErrNotFound) {
		t.Errorf("the item is left: %v", err)
	}
}

// TestNames refuses what is no variable, and those that mean something else.
func TestNames(t *testing.T) {
	for _, name := range []string{"", "1A", "A-B", "a/b", "..", "PATH", "SSL_CERT_FILE", strings.Repeat("A", 64)} {
		if err := CheckName(name); !errors.Is(err, errs.ErrUsage) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if err := CheckName("_gh_TOKEN2"); err != nil {
		t.Error(err)
	}
}

// TestDamaged is listed as an error beside the others, and can be removed.
func TestDamaged(t *testing.T) {
	s := newStore(t)
	for _, name := range []string{"A", "B"} {
		if _, err := s.Put(t.Context(), of(name), value); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range []string{"{", "{}", `{"format":1,"name":"B","placeholder":"x"}`, `{"format":99,"name":"A","placeholder":"x","hosts":["h"]}`} {
		os.WriteFile(s.record("A"), []byte(text), 0o600)
		if list, err := s.List(); err == nil || len(list) != 1 || list[0].Name != "B" {
			t.Errorf("%s: %v, %v", text, list, err)
		}
	}
	if err := s.Remove(t.Context(), "A"); err != nil {
		t.Error(err)
	}
	if list, err := s.List(); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
}

// TestAuthority is made once, and its certificate comes without its key.
func TestAuthority(t *testing.T) {
	s := newStore(t)
	first, err := s.Authority()
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.Authority()
	if err != nil || !bytes.Equal(first.CertPEM, second.CertPEM) || bytes.Contains(second.CertPEM, []byte("PRIVATE")) {
		t.Errorf("%s, %v", second.CertPEM, err)
	}
	nowhere(t, s.Dir, value)
}

// TestGive leaves out what cannot be had, and says so.
func TestGive(t *testing.T) {
	s := newStore(t)
	for name, where := range map[string]string{"A": InFile, "B": InCommand} {
		n := of(name)
		n.Where, n.Command = where, "cat "+filepath.Join(s.Dir, "none")
		if _, err := s.Put(t.Context(), n, value); err != nil {
			t.Fatal(err)
		}
	}
	given, err := s.Give(t.Context(), []string{"B", "A", "C"})
	if len(given.Grants) != 1 || given.Grants[0].Secret != "A" || given.Grants[0].Value != value || len(errs.List(err)) != 2 || !errors.Is(err, errs.ErrNotFound) {
		t.Errorf("%+v, %v", given, err)
	}
	if _, err := ca.Parse(given.CertPEM, given.KeyPEM); err != nil {
		t.Error(err)
	}
	if given, err := s.Give(t.Context(), nil); err != nil || given.Grants != nil {
		t.Errorf("%+v, %v", given, err)
	}
	if later, err := s.Give(t.Context(), []string{"A"}); err != nil || later.Began <= given.Began {
		t.Errorf("%d after %d, %v", later.Began, given.Began, err)
	}
	if got := s.Changing([]string{"A", "B", "C"}); !slices.Equal(got, []string{"B"}) {
		t.Errorf("%q change", got)
	}
}

func TestEnvironment(t *testing.T) {
	if env := Environment(nil, false); env != nil {
		t.Errorf("without secrets: %q", env)
	}
	env := Environment([]Secret{{Name: "TOKEN", Placeholder: "p"}}, true)
	for _, want := range []string{"TOKEN=p", "NODE_EXTRA_CA_CERTS=" + GuestAuthority, "GIT_SSL_CAINFO=" + GuestBundle} {
		if !slices.Contains(env, want) {
			t.Errorf("%s is not in %q", want, env)
		}
	}
	if len(env) != 1+len(TrustVariables) {
		t.Errorf("%q", env)
	}
}
