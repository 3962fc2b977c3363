package agent

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"noid/internal/agent/changes"
	"noid/internal/agent/login"
)

// Changes writes into out, as a layer of an image, what the guest has changed of its image: all of its root where that
// is no overlay. The guest must be one that nobody needs any more: all other processes are stopped, so that what is
// written is of one moment. warnings gets a line for each file that is left out.
func Changes(out, warnings io.Writer) error {
	stopOthers()
	root, err := rootAlone()
	if err != nil {
		return err
	}
	defer unix.Close(root)
	warn := func(text string) { fmt.Fprintln(warnings, text) }
	var st unix.Statfs_t
	if err := unix.Fstatfs(root, &st); err != nil {
		return err
	}
	if uint32(st.Type) != unix.OVERLAYFS_SUPER_MAGIC {
		return changes.WriteAll(out, root, warn)
	}
	upper, err := openUpper()
	if err != nil {
		return err
	}
	defer unix.Close(upper)
	return changes.Write(out, upper, root, warn)
}

// stopOthers stops all processes but the first one, the agent and this one, which the agent has started: never those of
// a host.
func stopOthers() {
	agent := os.Getppid()
	if comm, _ := login.ReadBounded(fmt.Sprintf("/proc/%d/comm", agent), 32); strings.TrimSpace(comm) != "noid-agent" {
		return
	}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && pid != 1 && pid != os.Getpid() && pid != agent {
			unix.Kill(pid, unix.SIGSTOP)
		}
	}
}
