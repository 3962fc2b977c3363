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

// passed is what has happened since a mark.
type passed struct {
	elapsed, cpu time.Duration
	sameDisk     bool
}

// sinceMark says what the VM has done since markUntouched. It fails where somebody has touched it, or when it is another
// process by now.
func (s *session) sinceMark() (p passed, err error) {
	var m mark
	data, err := os.ReadFile(s.file(untouchedFile))
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err != nil {
		return p, err
	}
	if m.Process != s.vm.Process {
		return p, os.ErrNotExist
	}
	cpu, err := s.vm.Process.CPUTime()
	if err != nil {
		return p, err
	}
	info, err := os.Lstat(s.file(vmm.RootfsFile))
	if err != nil {
		return p, err
	}
	return passed{elapsed: time.Since(m.At), cpu: cpu - m.CPU, sameDisk: info.ModTime().Equal(m.Disk)}, nil
}
