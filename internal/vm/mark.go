package vm

import (
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"noid/internal/proc"
	"noid/internal/vmm"
)

// mark is what untouchedFile says of the VM at that moment.
type mark struct {
	At      time.Time     `json:"at"`
	Process proc.Process  `json:"process"`
	CPU     time.Duration `json:"cpu"`  // that the VMM had used
	Disk    time.Time     `json:"disk"` // when the disk was written last
}

// markUntouched notes that the VM of p in dir is as its last checkpoint has it.
func markUntouched(dir string, p proc.Process) {
	m := mark{At: time.Now(), Process: p}
	m.CPU, _ = p.CPUTime()
	if info, err := os.Lstat(filepath.Join(dir, vmm.RootfsFile)); err == nil {
		m.Disk = info.ModTime()
	}
	if data, err := json.Marshal(m); err == nil {
		os.WriteFile(filepath.Join(dir, untouchedFile), data, 0o600)
	}
}

const (
	// idleShare and idleTime are how much of a processor an idle guest takes, timers and all, under emulation too.
	idleShare = 0.04
	idleTime  = 100 * time.Millisecond
)

// idle reports whether nothing has happened in the guest since markUntouched: nobody asked anything of it, its disk was
// not written, and it has hardly computed.
func (s *session) idle() bool {
	data, err := os.ReadFile(s.file(untouchedFile))
	if err != nil {
		return false
	}
	var m mark
	if json.Unmarshal(data, &m) != nil || m.Process != s.vm.Process {
		return false
	}
	cpu, err := m.Process.CPUTime()
	if err != nil {
		return false
	}
	disk, err := os.Lstat(s.file(vmm.RootfsFile))
	return err == nil && disk.ModTime().Equal(m.Disk) && cpu-m.CPU <= idleTime+time.Duration(idleShare*float64(time.Since(m.At)))
}
