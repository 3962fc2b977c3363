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
	beginMark(dir)
	endMark(dir, p)
}

// markFile is untouchedFile while the checkpoint is being made: whoever touches the VM removes both.
const markFile = untouchedFile + ".new"

// beginMark comes before the moment that a checkpoint keeps, and endMark, which is markUntouched unless somebody has
// touched the VM in between, after all that can fail.
func beginMark(dir string) { os.WriteFile(filepath.Join(dir, markFile), nil, 0o600) }

func endMark(dir string, p proc.Process) {
	m := mark{At: time.Now(), Process: p}
	m.CPU, _ = p.CPUTime()
	if info, err := os.Lstat(filepath.Join(dir, vmm.RootfsFile)); err == nil {
		m.Disk = info.ModTime()
	}
	data, err := json.Marshal(m)
	if err != nil {
		return
	}
	f, err := os.OpenFile(filepath.Join(dir, markFile), os.O_WRONLY, 0)
	if err != nil {
		return
	}
	_, err = f.Write(data)
	f.Close()
	if err == nil {
		os.Rename(filepath.Join(dir, markFile), filepath.Join(dir, untouchedFile))
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
