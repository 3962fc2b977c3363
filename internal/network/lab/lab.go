// Package lab is networks between VMs. A VM on one has an address of its own there, which its guest does not see: the
// guest keeps the addresses that every guest has. The network helper of the VM that opens a flow hands the helper of
// the other one a socket for it, which both have then for themselves. There is no process in between.
//
// What VMs are on a network says the configuration of each VM, nobody else. The directory of a network has its key and
// its number, and what the helpers publish there while their VMs run: who answers at which address, and by which name.
package lab

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/lazy"
	"noid/internal/manifest"
	"noid/internal/storage"
)

// Env is the environment variable that tells a network helper the directory of all networks.
const Env = "NOID_NETWORKS"

const (
	lockFile   = ".lock"        // is held while networks, or who is on them, change
	newPrefix  = ".new-"        // a network that is being made, or removed
	recordFile = "network.json" // in a network's directory
)

// Network is one that VMs can be on.
type Network struct {
	Name      string    `json:"-"`
	Number    uint8     `json:"number"` // tells its addresses, see Subnets
	Key       Key       `json:"key"`
	CreatedAt time.Time `json:"created_at"`
}

// Key proves that who opens a flow is a network helper. Those can read it. A VMM, which a hostile guest may have taken
// over, cannot.
type Key [sha256.Size]byte

// MarshalText and UnmarshalText have the key be hexadecimal.
func (k Key) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%x", k[:]), nil }

func (k *Key) UnmarshalText(text []byte) error {
	var b []byte
	if _, err := fmt.Sscanf(string(text), "%x", &b); err != nil || len(b) != len(k) {
		return errors.New("no key of a network")
	}
	copy(k[:], b)
	return nil
}

func (k Key) equal(o Key) bool { return subtle.ConstantTimeCompare(k[:], o[:]) == 1 }

var rightName = lazy.Regexp(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// CheckName accepts the name of a network or returns errs.ErrUsage. It is a label of DNS.
func CheckName(name string) error {
	if rightName().MatchString(name) {
		return nil
	}
	return errs.New(errs.ErrUsage, "not a name for a network: %.80q", name).Hint("a name has 1 to 63 lower-case letters, digits and '-', and neither begins nor ends with '-'")
}

// Lock waits for the right to change networks in dir, which it makes, and who is on them. It ends with the process.
func Lock(ctx context.Context, dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("locking the networks: %w", err)
	}
	f, err := storage.LockPath(ctx, filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, fmt.Errorf("locking the networks: %w", err)
	}
	return func() { storage.Unlock(f) }, nil
}

// ErrThere says that there is a network of that name.
func ErrThere(name string) error {
	return errs.New(errs.ErrExists, "network %q already exists", name).Hint("'noid network ls' lists the networks")
}

// Create makes the network name in dir, whose lock the caller has. One that is there is errs.ErrExists.
func Create(dir, name string) (Network, error) {
	n := Network{Name: name, CreatedAt: time.Now().UTC()}
	if err := CheckName(name); err != nil {
		return n, err
	}
	all, err := List(dir)
	if err != nil {
		return n, err
	}
	for number := 1; n.Number == 0 && number <= maxNumber; number++ {
		if !slices.ContainsFunc(all, func(o Network) bool { return int(o.Number) == number }) {
			n.Number = uint8(number)
		}
	}
	switch _, err := os.Lstat(filepath.Join(dir, name)); {
	case err == nil:
		return n, ErrThere(name)
	case n.Number == 0:
		return n, errs.New(errs.ErrState, "there are %d networks, and no more addresses", len(all)).Hint("remove one with 'noid network rm'")
	}
	rand.Read(n.Key[:])
	data, err := json.Marshal(n)
	if err != nil {
		return n, err
	}
	staging := filepath.Join(dir, newPrefix+name)
	err = os.Mkdir(staging, 0o700)
	if err == nil {
		err = storage.WriteFile(filepath.Join(staging, recordFile), data, 0o600)
	}
	if err == nil {
		err = storage.Publish(context.Background(), staging, filepath.Join(dir, name))
	}
	if err != nil {
		storage.RemoveAll(staging)
		err = fmt.Errorf("making network %q: %w", name, err)
	}
	return n, err
}

// Load reads the network name of dir. None is errs.ErrNotFound.
func Load(dir, name string) (n Network, err error) {
	if err := CheckName(name); err != nil {
		return n, err
	}
	path := filepath.Join(dir, name, recordFile)
	data, _, err := manifest.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return n, errs.New(errs.ErrNotFound, "no network %q", name).Hint("'noid network ls' lists the networks, 'noid network create " + name + "' makes it")
	}
	if err == nil {
		err = json.Unmarshal(data, &n)
	}
	if err == nil && (n.Number == 0 || n.Number > maxNumber || n.Key == Key{}) {
		err = errors.New("it has no number or no key")
	}
	if err != nil {
		return n, fmt.Errorf("damaged %s: %w", path, err)
	}
	n.Name = name
	return n, nil
}

// List returns the networks of dir, sorted by name. A damaged one is an error.
func List(dir string) (all []Network, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		if CheckName(e.Name()) != nil {
			continue
		}
		n, loadErr := Load(dir, e.Name())
		if errors.Is(loadErr, errs.ErrNotFound) { // it is being removed
			continue
		}
		err = errors.Join(err, loadErr)
		all = append(all, n)
	}
	return all, err
}

// Remove removes the network name of dir, whose lock the caller has, and on which no VM is.
func Remove(dir, name string) error {
	aside := filepath.Join(dir, newPrefix+name)
	if err := os.Rename(filepath.Join(dir, name), aside); err != nil {
		return fmt.Errorf("removing network %q: %w", name, err)
	}
	return errors.Join(storage.RemoveAll(aside), storage.SyncDir(dir))
}

// Sweep removes from dir, whose lock the caller has, what killed commands and killed network helpers have left there.
func Sweep(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), newPrefix):
			storage.RemoveAll(path)
		case strings.HasPrefix(e.Name(), inboxPrefix) && dead(path):
			os.Remove(path)
		}
	}
	for _, e := range entries {
		if CheckName(e.Name()) == nil {
			sweepEntries(filepath.Join(dir, e.Name()))
		}
	}
}

// sweepEntries removes from a network's directory what leads nowhere.
func sweepEntries(dir string) {
	lock, err := storage.TryLockPath(dir, os.O_RDONLY)
	if err != nil { // a helper changes something there: another time
		return
	}
	defer storage.Unlock(lock)
	entries, _ := os.ReadDir(dir)
	for pass := range 2 { // addresses, then the names that lead to them
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			if e.Type() != fs.ModeSymlink || strings.HasPrefix(e.Name(), namePrefix) != (pass == 1) {
				continue
			}
			if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
				os.Remove(path)
			}
		}
	}
}

// dead reports whether nobody has the socket path any more.
func dead(path string) bool {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	at, done, err := socketAddr(path)
	if err != nil {
		return false
	}
	defer done()
	return errors.Is(unix.Connect(fd, at), unix.ECONNREFUSED)
}
