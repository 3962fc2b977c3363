// Package kmod has the modules that a guest's kernel asks for while it runs, such as those of bridges and packet
// filters for a container engine. Most guests have no /lib/modules of the kernel that noid boots: so they come in the
// initramfs, packed, as one archive, and noid's agent is the guest's modprobe.
package kmod

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// Module is a kernel module.
type Module struct {
	Name    string // without ".ko", with "_" for "-", such as "virtio_blk"
	Data    []byte // the unpacked ELF object
	Needs   []string
	Aliases []string // patterns of names that the kernel asks for, as of modules.alias: modprobe.d(5)
}

const (
	indexName = "index" // the archive's first file: a line a module of its name, needs and aliases, parted by tabs
	suffix    = ".ko.gz"
	// maxIndex and maxData bound what is unpacked of an archive, in bytes.
	maxIndex = 1 << 20
	maxData  = 64 << 20
)

// Normal makes names equal that the kernel holds equal.
func Normal(name string) string { return strings.ReplaceAll(name, "-", "_") }

// Write writes an archive. The same modules make the same bytes.
func Write(w io.Writer, modules []Module) error {
	var index bytes.Buffer
	for _, m := range modules {
		fmt.Fprintf(&index, "%s\t%s\t%s\n", m.Name, strings.Join(m.Needs, " "), strings.Join(m.Aliases, " "))
	}
	t := tar.NewWriter(w)
	file := func(name string, data []byte) error {
		if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(data))}); err != nil {
			return err
		}
		_, err := t.Write(data)
		return err
	}
	err := file(indexName, index.Bytes())
	for _, m := range modules {
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		z.Write(m.Data) // to memory
		z.Close()
		err = errors.Join(err, file(m.Name+suffix, packed.Bytes()))
	}
	return errors.Join(err, t.Close())
}

// Load calls insert with the module that is called name, or has an alias that matches it, and before that with those
// that it needs. What is not in the archive is not asked for: it may be loaded, or built in. No such module is an error.
func Load(archive io.Reader, name string, insert func(name string, data []byte) error) error {
	t := tar.NewReader(bufio.NewReader(archive))
	if _, err := t.Next(); err != nil {
		return err
	}
	index, err := io.ReadAll(io.LimitReader(t, maxIndex))
	if err != nil {
		return err
	}
	order := resolve(string(index), name)
	if len(order) == 0 {
		return fmt.Errorf("no module %q", name)
	}
	found := map[string][]byte{}
	for len(found) < len(order) {
		h, err := t.Next()
		if err != nil {
			return fmt.Errorf("module %q: %w", name, err)
		}
		for _, m := range order {
			if h.Name == m+suffix {
				if found[m], err = unpack(t); err != nil {
					return fmt.Errorf("module %q: %w", m, err)
				}
			}
		}
	}
	for _, m := range order {
		if err := insert(m, found[m]); err != nil {
			return fmt.Errorf("module %q: %w", m, err)
		}
	}
	return nil
}

func unpack(r io.Reader) ([]byte, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(z, maxData))
}

// resolve returns the modules to load for name, in their order.
func resolve(index, name string) (order []string) {
	needs := map[string][]string{}
	var wanted []string
	for line := range strings.Lines(index) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(fields) != 3 {
			continue
		}
		module := fields[0]
		needs[module] = strings.Fields(fields[1])
		if module == Normal(name) || matches(strings.Fields(fields[2]), name) {
			wanted = append(wanted, module)
		}
	}
	seen := map[string]bool{}
	var add func(module string)
	add = func(module string) {
		if _, here := needs[module]; !here || seen[module] {
			return
		}
		seen[module] = true // before what it needs: a cycle ends here
		for _, need := range needs[module] {
			add(need)
		}
		order = append(order, module)
	}
	for _, module := range wanted {
		add(module)
	}
	return order
}

// matches reports whether one of the patterns matches name, with "-" and "_" as one.
func matches(patterns []string, name string) bool {
	for _, p := range patterns {
		if ok, err := path.Match(Normal(p), Normal(name)); ok && err == nil {
			return true
		}
	}
	return false
}
