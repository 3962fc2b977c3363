package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/storage"
)

// lockName is the lock file beside config.toml. The file itself cannot be the lock: each change replaces it.
const lockName = ".config.lock"

// Entry is a setting as text.
type Entry struct {
	Key   string `json:"key"`
	Value string `json:"value"` // mem in MiB
}

// Check is a further look at a value, made when it is set: such as whether the file named is a kernel. The value is in
// its final form, a path absolute.
type Check func(key, value string) error

// Get returns the value of key as text. A key that is not set is errs.ErrNotFound, one that does not exist
// errs.ErrUsage.
func Get(path, name string) (string, error) {
	k, err := lookup(name)
	if err != nil {
		return "", err
	}
	_, values, err := read(path)
	if err != nil {
		return "", err
	}
	if value, ok := values[name]; ok {
		return k.shown(path, fmt.Sprint(value)), nil
	}
	return "", errs.New(errs.ErrNotFound, "%q is not set", name).Hint("'noid config set " + name + " VALUE'")
}

// List returns what is set, sorted by key, keys of a newer noid left out. Values are shown as they are, also those that
// Load would refuse: they can be mended then.
func List(path string) ([]Entry, error) {
	_, values, err := read(path)
	if err != nil {
		return nil, err
	}
	var entries []Entry
	for _, k := range keys {
		if value, ok := values[k.name]; ok {
			entries = append(entries, Entry{k.name, k.shown(path, fmt.Sprint(value))})
		}
	}
	return entries, nil
}

// Set checks value, gives it its final form (paths absolute, memory in MiB) and writes it, a path in the home as
// counted from there. check may be nil. A kernel, root filesystem or binary that is not there is errs.ErrNotFound; any
// other bad key or value is errs.ErrUsage.
func Set(path, name, value string, check Check) error {
	k, err := lookup(name)
	if err != nil {
		return err
	}
	if value, err = k.clean(value); err != nil {
		return fmt.Errorf("setting %s: %w", name, err)
	}
	if k.isPath {
		if value, err = checkFile(k, value); err != nil {
			return err
		}
	}
	if name == "net" {
		_, values, err := read(path)
		if err != nil {
			return err
		}
		networks, err := profiles(values)
		if err == nil {
			err = checkNet(value, networks)
		}
		if err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	if check != nil {
		if err := check(name, value); err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	line, err := assignment(k, k.kept(path, value))
	if err != nil {
		return fmt.Errorf("setting %s: %w", name, err)
	}
	return change(path, name, line)
}

// assignment returns the line that sets k to a clean value.
func assignment(k key, value string) ([]byte, error) {
	var typed any = value
	if k.isInt {
		n, err := strconv.Atoi(value)
		if err != nil {
			return nil, err
		}
		typed = n
	}
	return toml.Marshal(map[string]any{k.name: typed})
}

// Unset takes key out, also one that no noid of this version knows. A key that was not set is no error.
func Unset(path, name string) error {
	if _, err := lookup(name); err != nil {
		if _, values, readErr := read(path); readErr != nil || values[name] == nil {
			return err
		}
	}
	return change(path, name, nil)
}

// change sets name in the file by line, or takes it out, alone among all noids.
func change(path, name string, line []byte) error {
	lock, err := os.OpenFile(filepath.Join(filepath.Dir(path), lockName), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if errors.Is(err, fs.ErrNotExist) && line == nil { // in a home that is not there
		return nil
	} else if err != nil {
		return fmt.Errorf("locking the configuration: %w", err)
	}
	defer lock.Close()
	for err = unix.EINTR; errors.Is(err, unix.EINTR); { // held for milliseconds: no limit
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		return fmt.Errorf("locking the configuration: %w", err)
	}
	storage.RemoveTemp(path)
	data, _, err := read(path)
	if err != nil {
		return err
	}
	text := edit(data, name, line)
	values, err := parse(text)
	if _, set := values[name]; err != nil || set != (line != nil) { // such as a key that is a table
		return fileError(path, 0, fmt.Errorf("%s cannot be changed without damage to the file", name), "change it in an editor")
	}
	// Write where a link leads: replacing the link would leave the user's own file behind, silently unused.
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	return storage.WriteFile(path, text, 0o600)
}

// setting is a key at the top level of a file, and the range of bytes of its lines.
type setting struct {
	key        string
	start, end int
}

// settings lists what is set above the first table of data, which is valid TOML, and returns where that table begins.
func settings(data []byte) (list []setting, table int) {
	var p unstable.Parser
	p.Reset(data)
	for p.NextExpression() {
		e := p.Expression()
		k := e.Key()
		k.Next()
		s := setting{key: string(k.Node().Data), start: bytes.LastIndexByte(data[:k.Node().Raw.Offset], '\n') + 1, end: len(data)}
		if e.Kind != unstable.KeyValue {
			return list, s.start
		}
		value := int(e.Raw.Offset + e.Raw.Length)
		if i := bytes.IndexByte(data[value:], '\n'); i >= 0 {
			s.end = value + i + 1
		}
		list = append(list, s)
	}
	return list, len(data)
}

// edit replaces the lines that set key by line, or removes them when line is empty. A new line goes before the first
// key that sorts after it, and above the first table.
func edit(data []byte, key string, line []byte) []byte {
	list, start := settings(data)
	at := slices.IndexFunc(list, func(s setting) bool { return s.key == key })
	if at >= 0 {
		return slices.Concat(data[:list[at].start], line, data[list[at].end:])
	}
	if line == nil {
		return data
	}
	above := 0 // where the setting before ends
	for _, s := range list {
		if s.key > key {
			start = s.start
			break
		}
		above = s.end
	}
	// A comment right above a key is about that key: do not come between them.
	for start < len(data) && start > above {
		previous := bytes.LastIndexByte(data[:start-1], '\n') + 1
		if !bytes.HasPrefix(bytes.TrimSpace(data[previous:start]), []byte("#")) {
			break
		}
		start = previous
	}
	if start > 0 && data[start-1] != '\n' {
		line = slices.Concat([]byte("\n"), line)
	}
	return slices.Concat(data[:start], line, data[start:])
}

// Sweep removes what a killed change of the configuration at path has left. It waits for nobody.
func Sweep(path string) {
	lock, err := os.OpenFile(filepath.Join(filepath.Dir(path), lockName), os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return // nobody has ever changed it
	}
	defer lock.Close()
	if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
		storage.RemoveTemp(path)
	}
}
