package sshconf

import (
	"path/filepath"
	"strings"

	"noid/internal/errs"
	"noid/internal/shell"
)

// Suffix ends the names by which ssh knows VMs.
const Suffix = ".noid"

// Options are what a configuration is for.
type Options struct {
	Program string   // the path of noid
	Home    string   // NOID_HOME, if it is set
	Dir     string   // of the key
	VMs     []string // none stands for all, of now and later
}

// Config returns a block of ssh_config(5). What that cannot say is errs.ErrUsage.
func Config(o Options) (string, error) {
	for _, path := range []string{o.Program, o.Home, o.Dir} {
		if strings.ContainsAny(path, "\n\r\x00") || strings.Contains(path, "${") {
			return "", errs.New(errs.ErrUsage, "no configuration of ssh can name the path %q", path).Hint("rename the directory, or set NOID_HOME to another one")
		}
	}
	command := word(o.Program) + " ssh-proxy '%h'"
	if o.Home != "" {
		command = "env NOID_HOME=" + word(o.Home) + " " + command
	}
	hosts := "*" + Suffix
	if len(o.VMs) > 0 {
		hosts = strings.Join(o.VMs, Suffix+" ") + Suffix
	}
	return strings.Join([]string{
		"Host " + hosts,
		"  User root",
		"  ProxyCommand " + command,
		"  HostKeyAlias " + Alias,
		"  UserKnownHostsFile " + percent(quote(filepath.Join(o.Dir, knownFile))),
		"  StrictHostKeyChecking yes",
	}, "\n") + "\n", nil
}

// plain are the characters that need no quotes in ssh_config(5).
const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+,@%"

// word is a word of the shell's in ProxyCommand, where % begins a token of ssh's.
func word(s string) string {
	return percent(shell.Quote(s))
}

func percent(s string) string { return strings.ReplaceAll(s, "%", "%%") }

// quote is an argument in ssh_config(5).
func quote(s string) string {
	if strings.Trim(s, plain) == "" {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
