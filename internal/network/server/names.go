package server

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/network"
)

// maxNames is how much is appended to the file of names before it is written anew, in bytes.
const maxNames = 1 << 20

// namesFile has what the policy has learned of names that rules are about, for the next helper.
type namesFile struct {
	mu    sync.Mutex
	file  *os.File
	added int
}

// replace writes all names anew.
func (f *namesFile) replace(names []network.Name) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file != nil {
		f.file.Close()
	}
	f.file, f.added = nil, 0
	network.SaveNames(network.HelperDir, names) // without it the next helper knows less
}

// add appends a name. Of all names the file is made anew when it is long.
func (f *namesFile) add(n network.Name, all func() []network.Name) {
	data, err := json.Marshal(n)
	if err != nil {
		return
	}
	if f.write(append(data, '\n')) > maxNames {
		f.replace(all())
	}
}

func (f *namesFile) write(line []byte) (added int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		var err error
		if f.file, err = os.OpenFile(filepath.Join(network.HelperDir, network.NamesFile), os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600); err != nil {
			return 0
		}
	}
	n, _ := f.file.Write(line)
	f.added += n
	return f.added
}

// Learn is that of the policy. A name that a rule is about is in the file before the guest is told.
func (p *hosted) Learn(name string, addrs []netip.Addr, ttl time.Duration) {
	if n, news := p.Policy.Learn(name, addrs, ttl); news {
		p.names.add(n, p.Names)
	}
}
