package agent

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"noid/internal/agent/login"
	"noid/internal/link/wire"
)

// maxCommandLine is how much of a process's command line is told, in bytes.
const maxCommandLine = 1 << 10

// Processes writes into out a line of JSON, a wire.Process, for each process but the kernel's threads, the agent and this
// one.
func Processes(out io.Writer) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	b := bufio.NewWriter(out)
	lines := json.NewEncoder(b)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() || pid == os.Getppid() {
			continue
		}
		if p, ok := processOf(pid); ok {
			if err := lines.Encode(p); err != nil {
				return err
			}
		}
	}
	return b.Flush()
}

// processOf is what /proc says of a process, unless it is a kernel's thread or has ended.
func processOf(pid int) (p wire.Process, ok bool) {
	dir := fmt.Sprintf("/proc/%d", pid)
	stat, err := login.ReadBounded(dir+"/stat", 4<<10)
	open, end := strings.IndexByte(stat, '('), strings.LastIndexByte(stat, ')')
	if err != nil || open < 0 || end < open {
		return p, false
	}
	f := strings.Fields(stat[end+1:]) // from the third of proc(5)
	if len(f) < 20 {
		return p, false
	}
	const kernelThread = 0x00200000 // PF_KTHREAD
	if flags, _ := strconv.ParseUint(f[6], 10, 64); flags&kernelThread != 0 {
		return p, false
	}
	p = wire.Process{PID: pid, Command: stat[open+1 : end]}
	p.Start, _ = strconv.ParseUint(f[19], 10, 64)
	var st unix.Stat_t
	if unix.Stat(dir, &st) != nil {
		return p, false
	}
	p.UID = st.Uid
	if line, err := login.ReadBounded(dir+"/cmdline", maxCommandLine); err == nil && line != "" {
		p.Command = strings.ReplaceAll(strings.TrimRight(line, "\x00"), "\x00", " ")
	}
	return p, true
}
