package agent

import (
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/agent/login"
	"noid/internal/link/wire"
)

// maxAddresses bounds Info.Addresses.
const maxAddresses = 64

func (s *Server) info() *wire.Info {
	i := &wire.Info{Release: s.Release, Addresses: addresses()}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		i.Kernel = unix.ByteSliceToString(u.Release[:])
		i.Hostname = unix.ByteSliceToString(u.Nodename[:])
	}
	var up unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &up) == nil {
		i.UptimeSec = time.Duration(up.Nano()).Seconds()
	}
	var si unix.Sysinfo_t // which needs no /proc
	if unix.Sysinfo(&si) == nil {
		i.MemTotal = int64(si.Totalram) * int64(si.Unit)
		i.MemFree = int64(si.Freeram) * int64(si.Unit)
		for k := range i.Load {
			i.Load[k] = fmt.Sprintf("%.2f", float64(si.Loads[k])/(1<<16))
		}
	}
	for line := range strings.Lines(readProc("meminfo")) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "MemAvailable: %d kB", &kib); n == 1 {
			i.MemFree = kib << 10
		}
	}
	s.mu.Lock()
	i.Jobs = s.live
	s.mu.Unlock()
	return i
}

func readProc(name string) string {
	s, _ := login.ReadBounded("/proc/"+name, 64<<10)
	return s
}

// addresses returns the guest's addresses that others may use.
func addresses() []string {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []string
	for _, a := range list {
		n, ok := a.(*net.IPNet)
		if !ok || n.IP.IsLoopback() || n.IP.IsLinkLocalUnicast() {
			continue
		}
		if out = append(out, n.String()); len(out) == maxAddresses {
			break
		}
	}
	return out
}

// hasVirtio reports whether the guest has a virtio device with this ID.
func hasVirtio(id int) bool {
	for _, d := range listSys("bus/virtio/devices") {
		if readSys("bus/virtio/devices/"+d+"/device") == fmt.Sprintf("0x%04x", id) {
			return true
		}
	}
	return false
}

// exists reports whether path names anything, without following a link.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
