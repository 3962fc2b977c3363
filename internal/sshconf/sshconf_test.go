package sshconf

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"noid/internal/errs"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestHostKey has many at a time get one key, whose public half OpenSSH can read.
func TestHostKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ssh")
	var seeds [8][]byte
	var all sync.WaitGroup
	for i := range seeds {
		all.Go(func() {
			var err error
			if seeds[i], err = HostKey(dir); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, seed := range seeds {
		if len(seed) != 32 || !bytes.Equal(seed, seeds[0]) {
			t.Fatalf("%x, not %x", seed, seeds[0])
		}
	}
	key, known := filepath.Join(dir, keyFile), filepath.Join(dir, knownFile)
	for _, file := range []string{key, known} {
		if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", file, info, err)
		}
	}
	must(t, os.Remove(known)) // as by a noid that was killed
	if seed, err := HostKey(dir); err != nil || !bytes.Equal(seed, seeds[0]) {
		t.Errorf("%x, %v", seed, err)
	}
	must(t, os.WriteFile(key, []byte("no key"), 0o600))
	if _, err := HostKey(dir); !errors.Is(err, errs.ErrState) || !strings.Contains(errs.Hint(err), "remove it") {
		t.Errorf("a damaged key: %v", err)
	}
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Skip("NOT RUN: ssh-keygen is not installed")
	}
	if out, err := exec.Command("ssh-keygen", "-l", "-F", Alias, "-f", known).CombinedOutput(); err != nil || !strings.Contains(string(out), "noid ED25519 SHA256:") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestConfig has ssh itself read the configuration, with paths that need quotes.
func TestConfig(t *testing.T) {
	plain, err := Config(Options{Program: "/usr/bin/noid", Dir: "/home/a/.noid/ssh"})
	must(t, err)
	if diff := cmp.Diff("Host *.noid\n  User root\n  ProxyCommand /usr/bin/noid ssh-proxy '%h'\n  HostKeyAlias noid\n"+
		"  UserKnownHostsFile /home/a/.noid/ssh/known_hosts\n  StrictHostKeyChecking yes\n", plain); diff != "" {
		t.Error(diff)
	}
	if _, err := exec.LookPath("ssh"); err != nil {
		t.Skip("NOT RUN: ssh is not installed")
	}
	work := t.TempDir()
	for _, odd := range []string{"with blank", "100%h", "it's", `a"b`, `back\slash`, "$HOME", "#x", "*"} {
		dir := filepath.Join(work, odd)
		must(t, os.Mkdir(dir, 0o755))
		program := filepath.Join(dir, "noid")
		must(t, os.WriteFile(program, []byte("#!/bin/sh\necho \"$NOID_HOME|$2\" >&2\n"), 0o755))
		config, err := Config(Options{Program: program, Home: dir, Dir: dir, VMs: []string{"x", "dev"}})
		must(t, err)
		file := filepath.Join(work, "config")
		must(t, os.WriteFile(file, []byte(config), 0o600))
		out, err := exec.Command("ssh", "-F", file, "-G", "dev.noid").CombinedOutput()
		if want := "userknownhostsfile " + filepath.Join(dir, knownFile) + "\n"; !strings.Contains(strings.ReplaceAll(string(out), "%%", "%"), want) {
			t.Errorf("%v: without %q: %s", err, want, out)
		}
		out, _ = exec.Command("ssh", "-T", "-F", file, "dev.noid").CombinedOutput() // which fails: that is no server
		if want := dir + "|dev.noid\n"; !strings.HasPrefix(string(out), want) {
			t.Errorf("the command was not called with %q: %s", want, out)
		}
	}
	for _, bad := range []string{"/a\nb", "/a${HOME}"} {
		if _, err := Config(Options{Program: "/noid", Dir: bad}); !errors.Is(err, errs.ErrUsage) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestInstall includes noid's configuration at the top, once, and keeps what was there, its mode and a link.
func TestInstall(t *testing.T) {
	dir, home := t.TempDir(), t.TempDir()
	file := filepath.Join(home, ".ssh", "config")
	line := "Include " + filepath.Join(dir, configFile) + "\n"
	install := func(want bool) string {
		t.Helper()
		changed, err := Install(dir, "Host *.noid\n", file)
		if err != nil || changed != want {
			t.Fatalf("%v, %v", changed, err)
		}
		data, err := os.ReadFile(file)
		must(t, err)
		return string(data)
	}
	if got, want := install(true), "# VMs of noid: ssh NAME.noid\n"+line; got != want {
		t.Errorf("%q, not %q", got, want)
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := os.Stat(file + backupSuffix); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a backup of nothing: %v", err)
	}
	const old = "Host x\n  User me\n" // in it, an Include would be of this host alone
	dotfiles := filepath.Join(home, "dotfiles")
	must(t, os.Remove(file))
	must(t, os.WriteFile(dotfiles, []byte(old), 0o640))
	must(t, os.Symlink("../dotfiles", file))
	want := "# VMs of noid: ssh NAME.noid\n" + line + "\n" + old
	if got := install(true); got != want {
		t.Errorf("%q, not %q", got, want)
	}
	if got := install(false); got != want {
		t.Errorf("%q, not %q", got, want)
	}
	if to, err := os.Readlink(file); err != nil || to != "../dotfiles" {
		t.Errorf("the link leads to %q: %v", to, err)
	}
	if info, err := os.Stat(dotfiles); err != nil || info.Mode() != 0o640 {
		t.Errorf("%v, %v", info, err)
	}
	if before, err := os.ReadFile(dotfiles + backupSuffix); err != nil || string(before) != old {
		t.Errorf("the backup: %q, %v", before, err)
	}
	if _, err := Install(filepath.Join(dir, "100%"), "", file); !errors.Is(err, errs.ErrUsage) {
		t.Errorf("a path that cannot be included: %v", err)
	}
}
