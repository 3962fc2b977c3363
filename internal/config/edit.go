package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/lazy"
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
	if _, err := lookup(name); err != nil {
		return "", err
	}
	entries, err := List(path)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		if e.Key == name {
			return e.Value, nil
		}
	}
	return "", errs.New(errs.ErrNotFound, "%q is not set", name).Hint("`noid config set " + name + " VALUE`")
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
			entries = append(entries, Entry{k.name, fmt.Sprint(value)})
		}
	}
	return entries, nil
}

// Set checks value, gives it its final form (paths absolute, memory in MiB) and writes it. check may be nil. A kernel,
// root filesystem or binary that is not there is errs.ErrNotFound; any other bad key or value is errs.ErrUsage.
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
	if check != nil {
		if err := check(name, value); err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	typed, line, err := assignment(k, value)
	if err != nil {
		return fmt.Errorf("setting %s: %w", name, err)
	}
	return change(path, func(data []byte, values map[string]any) ([]byte, error) {
		values[name] = typed
		return editLine(data, name, line), nil
	})
}

// assignment returns a clean value as TOML has it, and the line that sets it.
func assignment(k key, value string) (typed any, line string, err error) {
	typed = value
	if k.isInt {
		if typed, err = strconv.ParseInt(value, 10, 64); err != nil {
			return nil, "", err
		}
	}
	text, err := toml.Marshal(map[string]any{k.name: typed})
	return typed, strings.TrimRight(string(text), "\n"), err
}

// Unset takes key out. A key that was not set is no error.
func Unset(path, name string) error {
	if _, err := lookup(name); err != nil {
		return err
	}
	return change(path, func(data []byte, values map[string]any) ([]byte, error) {
		delete(values, name)
		return editLine(data, name, ""), nil
	})
}

// editFunc changes values and returns data with the same change made to its text.
type editFunc func(data []byte, values map[string]any) ([]byte, error)

// edited is what edit makes of a file. Should its text not say what its values do, it is written anew from the values.
func edited(data []byte, values map[string]any, edit editFunc) ([]byte, error) {
	text, err := edit(data, values)
	if err != nil {
		return nil, err
	}
	says := func(text []byte) bool {
		got, err := parse(text)
		return err == nil && reflect.DeepEqual(got, values)
	}
	if says(text) {
		return text, nil
	}
	if text, err = toml.Marshal(values); err != nil { // it sorts the keys
		return nil, err
	}
	// Never replace a file that can be read by one that cannot.
	if _, err := parse(text); err != nil {
		return nil, fmt.Errorf("the rest of the file cannot be kept: %w", err)
	}
	return text, nil
}

// change applies edit to the file, alone among all noids.
func change(path string, edit editFunc) error {
	lock, err := os.OpenFile(filepath.Join(filepath.Dir(path), lockName), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
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
	data, values, err := read(path)
	if err != nil {
		return err
	}
	text, err := edited(data, values, edit)
	if err != nil {
		return fmt.Errorf("changing the configuration: %w", err)
	}
	// Write where a link leads: replacing the link would leave the user's own file behind, silently unused.
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	return storage.WriteFile(path, text, 0o600)
}

var (
	setsKey = lazy.Regexp(`^\s*["']?([A-Za-z0-9_-]+)["']?\s*=`)
	isTable = lazy.Regexp(`^\s*\[`)
)

// editLine replaces the line that sets key by line, or removes it when line is empty. A new line goes before the first
// key that sorts after it, never below a table's header, where it would belong to the table. It does not know of values
// that take several lines: change looks at what came out.
func editLine(data []byte, key, line string) []byte {
	var lines []string
	if len(data) > 0 {
		lines = strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	}
	at, replace := len(lines), 0
	for i, l := range lines {
		if isTable().MatchString(l) {
			at = min(at, i)
			break
		}
		m := setsKey().FindStringSubmatch(l)
		if m != nil && m[1] == key {
			at, replace = i, 1
			break
		}
		if m != nil && m[1] > key {
			at = min(at, i)
		}
	}
	// A comment right above a key is about that key: do not come between them.
	for replace == 0 && at < len(lines) && at > 0 && strings.HasPrefix(strings.TrimSpace(lines[at-1]), "#") {
		at--
	}
	var middle []string
	if line != "" {
		middle = []string{line}
	} else if replace == 0 {
		return data
	}
	var out []string
	out = append(out, lines[:at]...)
	out = append(out, middle...)
	out = append(out, lines[at+replace:]...)
	if len(out) == 0 {
		return nil
	}
	return []byte(strings.Join(out, "\n") + "\n")
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
