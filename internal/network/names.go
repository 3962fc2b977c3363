package network

import (
	"bufio"
	"encoding/json"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/storage"
	"noid/internal/untrusted"
)

// NamesFile, in a VM's HelperDir and in a checkpoint, has what the guest was told of names that rules are about: a Name a
// line, as JSON, the last ones at its end. What a guest has cached is allowed after a restart of its network helper, too.
const NamesFile = "net.names"

// maxNames bounds what is read of it, in bytes.
const maxNames = 4 << 20

// Name is a domain name whose addresses the guest was told, and until when they count.
type Name struct {
	Name  string       `json:"name"`
	Until time.Time    `json:"until"`
	Addrs []netip.Addr `json:"addrs"`
}

// LoadNames reads the names of the VM, or of the checkpoint, in dir. What is damaged ends them: a helper may have been killed while it wrote.
func LoadNames(dir string) (names []Name) {
	path := HelperFile(dir, NamesFile)
	f, err := untrusted.Open(filepath.Dir(path), NamesFile, unix.O_RDONLY)
	if err != nil {
		return nil
	}
	defer f.Close()
	for d := json.NewDecoder(bufio.NewReader(io.LimitReader(f, maxNames))); ; {
		var n Name
		if d.Decode(&n) != nil {
			return names
		}
		names = append(names, n)
	}
}

// SaveNames replaces the names in dir, atomically and durably. None is no file.
func SaveNames(dir string, names []Name) error {
	path := filepath.Join(dir, NamesFile)
	if len(names) == 0 {
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			return err
		}
		return nil
	}
	return storage.WriteNew(path, 0o600, func(f *os.File) error {
		out := bufio.NewWriter(f)
		for _, n := range names {
			if err := json.NewEncoder(out).Encode(n); err != nil {
				return err
			}
		}
		return out.Flush()
	})
}

// RestoreNames gives the VM in dir, whose guest is as it was at a moment, the names of that moment, which the checkpoint
// in from has: they count for as long as they had left then, because the guest's own caches go on from there.
func RestoreNames(dir, from string, moment time.Time) error {
	names := LoadNames(from)
	passed := time.Since(moment)
	for i := range names {
		names[i].Until = names[i].Until.Add(passed)
	}
	return SaveNames(filepath.Join(dir, HelperDir), names)
}
