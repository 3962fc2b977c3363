package sshconf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"noid/internal/errs"
	"noid/internal/storage"
)

// backupSuffix ends the name of what was in a user's configuration before.
const backupSuffix = ".before-noid"

// Install writes config into dir, and has the user's configuration of ssh, the file at path, include that: first of all,
// as the first value that ssh finds is the one that holds. What was there before becomes a file beside it. A
// configuration that includes it already is left alone, and changed is false.
func Install(dir, config, path string) (changed bool, err error) {
	own := filepath.Join(dir, configFile)
	if strings.ContainsAny(own, `*?[\"%`) {
		return false, errs.New(errs.ErrUsage, "a configuration of ssh cannot include %q", own).Hint("paste what 'noid ssh-config' prints into " + path)
	}
	if err := storage.WriteFile(own, []byte(config), 0o600); err != nil {
		return false, err
	}
	if target, err := filepath.EvalSymlinks(path); err == nil { // a link stays one
		path = target
	}
	old, mode, err := readConfig(path)
	if err != nil {
		return false, err
	}
	line := "Include " + quote(own)
	for have := range strings.Lines(old) {
		if strings.TrimSpace(have) == line {
			return false, nil
		}
	}
	if old == "" {
		if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return false, err
		}
	} else if err := storage.WriteFile(path+backupSuffix, []byte(old), mode); err != nil {
		return false, err
	}
	lines := slices.DeleteFunc([]string{"# VMs of noid: ssh NAME" + Suffix, line, "", old}, func(s string) bool { return s == "" && old == "" })
	return true, storage.WriteFile(path, []byte(strings.TrimSuffix(strings.Join(lines, "\n"), "\n")+"\n"), mode)
}

// readConfig returns what is in a file, and its mode: nothing and that of a new one when it is not there.
func readConfig(path string) (string, fs.FileMode, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", 0o600, nil
	case err != nil:
		return "", 0, err
	case !info.Mode().IsRegular() || info.Size() > maxFile:
		return "", 0, fmt.Errorf("%s is no configuration of ssh", path)
	}
	data, err := os.ReadFile(path)
	return string(data), info.Mode().Perm(), err
}
