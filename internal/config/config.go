// Package config owns config.toml, the user's defaults. A wrong value is an error. A change leaves comments, and the
// keys of a newer noid, as they are. Flags and the environment come before the file: that is the caller's business.
package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/network"
)

// Config is config.toml with its values checked. A zero field is a key that is not set.
type Config struct {
	Kernel  string // absolute path
	Rootfs  string // absolute path
	CPUs    int
	MemMiB  int
	DiskMiB int
	Image   string // of which VMs are made, before Rootfs
	Net     string // the network of new VMs: a mode, or the name of one of Networks
	// Networks are the profiles of the table [network], by name.
	Networks    map[string]network.Config
	Driver      string // "firecracker" or "qemu"
	Auto        string // AutoExec, AutoOff or a time.Duration: when a new VM makes checkpoints by itself
	AutoKeep    int    // how many of those a VM keeps; 0 for DefaultAutoKeep
	BootArgs    string // appended to the driver's kernel command line
	Firecracker string // the VMM's binary, absolute path
	QEMU        string // the VMM's binary, absolute path
	Storage     string // "plain" or "btrfs": what the user asked for; package volume sees what is there
	// RegistryMirror is asked before Docker Hub: "[http://]HOST[:PORT]".
	RegistryMirror string
	Warm           string // "on" or "off": whether create may restore a template
	// Ignored warns of each key that this noid does not know, with file, line and the nearest key: a slip of the
	// keyboard, or a newer noid's.
	Ignored []string
}

// maxFile bounds what is read: a config.toml is some lines long.
const maxFile = 1 << 20

// Load reads the file at path. No file is an empty Config. A file that is not TOML, or has a value that its key does
// not take, is errs.ErrUsage and the message names file and line. Keys that this noid does not know are no error: see
// Config.Ignored. Whether the files that are named can be used is not looked at.
func Load(path string) (Config, error) {
	data, values, err := read(path)
	if err != nil {
		return Config{}, err
	}
	var c Config
	for _, k := range keys {
		raw, ok := values[k.name]
		if !ok {
			continue
		}
		text, err := asText(raw)
		if err == nil {
			text, err = k.clean(text)
		}
		if err != nil {
			return Config{}, fileError(path, lines(data)[k.name], fmt.Errorf("%s: %w", k.name, err),
				fmt.Sprintf("'noid config set %s VALUE', or 'noid config unset %s'", k.name, k.name))
		}
		k.store(&c, k.shown(path, text))
		delete(values, k.name)
	}
	if c.Networks, err = profiles(values); err != nil {
		return Config{}, fileError(path, lines(data)[networkTable], err, "correct the file: 'noid help network' has an example")
	}
	delete(values, networkTable)
	if err := checkNet(c.Net, c.Networks); err != nil {
		return Config{}, fileError(path, lines(data)["net"], fmt.Errorf("net: %w", err), errs.Hint(err))
	}
	if len(values) > 0 {
		c.Ignored = ignored(path, data, values)
	}
	return c, nil
}

// ignored words a warning for each of values, keys that no noid of this version knows, in the order of their lines.
func ignored(path string, data []byte, values map[string]any) (warnings []string) {
	line := lines(data)
	for _, name := range slices.SortedFunc(maps.Keys(values), func(a, b string) int { return cmp.Compare(line[a], line[b]) }) {
		near := ""
		if key := Nearest(name, Keys()); key != "" {
			near = fmt.Sprintf(": did you mean %q?", key)
		}
		warnings = append(warnings, fmt.Sprintf("%s:%d: the key %q is not known and is ignored%s", path, line[name], name, near))
	}
	return warnings
}

// shown is text, a value of k in the file at path, as it is used. A path that is not absolute counts from the home,
// which is where the file is. One from where the home was once, and where nothing is now, is found in the home too.
func (k key) shown(path, text string) string {
	home := filepath.Dir(path)
	if !k.isPath || text == "" {
		return text
	}
	if !filepath.IsAbs(text) {
		return filepath.Join(home, text)
	}
	if _, err := os.Stat(text); !errors.Is(err, fs.ErrNotExist) {
		return text
	}
	for _, rest, ok := strings.Cut(text[1:], "/"); ok && strings.Contains(rest, "/"); _, rest, ok = strings.Cut(rest, "/") {
		if here := filepath.Join(home, rest); exists(here) {
			return here
		}
	}
	return text
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// kept is the other way around: how the absolute path text is written into the file at path, so that a home may be
// moved.
func (k key) kept(path, text string) string {
	if inHome, err := filepath.Rel(filepath.Dir(path), text); k.isPath && err == nil && filepath.IsLocal(inHome) {
		return inHome
	}
	return text
}

// read returns the file as it is and as TOML. No file is an empty one.
func read(path string) ([]byte, map[string]any, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the configuration: %w", err)
	}
	values, err := parse(data)
	if err != nil {
		line := 0
		if decodeErr, ok := errors.AsType[*toml.DecodeError](err); ok {
			line, _ = decodeErr.Position()
		}
		return nil, nil, fileError(path, line, errors.New(strings.TrimPrefix(err.Error(), "toml: ")), "correct the file, or remove it")
	}
	return data, values, nil
}

func parse(data []byte) (map[string]any, error) {
	values := map[string]any{}
	err := toml.Unmarshal(data, &values)
	return values, err
}

func readFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // not O_NOFOLLOW: people link to their dotfiles
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s is longer than %d bytes", path, maxFile)
	}
	return data, err
}

func fileError(path string, line int, err error, hint string) error {
	where := path
	if line > 0 {
		where = fmt.Sprintf("%s:%d", path, line)
	}
	return errs.New(errs.ErrUsage, "%s: %w", where, err).Hint(hint)
}

// lines returns the line, from 1, that first sets each key at the top level, or begins a table of that name.
func lines(data []byte) map[string]int {
	var p unstable.Parser
	p.Reset(data)
	found := map[string]int{}
	at, line, inTable := 0, 1, false
	for p.NextExpression() {
		e := p.Expression()
		if e.Kind == unstable.KeyValue && inTable {
			continue
		}
		inTable = e.Kind != unstable.KeyValue
		k := e.Key()
		k.Next()
		offset := int(k.Node().Raw.Offset)
		line, at = line+bytes.Count(data[at:offset], []byte("\n")), offset
		if name := string(k.Node().Data); found[name] == 0 {
			found[name] = line
		}
	}
	return found
}

// asText gives a value in the form in which `config set` takes it.
func asText(value any) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case int64:
		return fmt.Sprint(v), nil
	}
	return "", fmt.Errorf("a %T is neither text nor a whole number", value)
}
