// Command noid-agent is the agent in a guest. noid's initramfs starts it beside the root file system's own init, or as
// PID 1 (with --init) where there is none. The kernel starts it again when it was killed. Its tools serve
// noid's cp (tar-create, tar-extract), single files (file), resize (grow-disk), commit (changes), diff (walk, contents, processes) and selftest
// (listen). It is also the guest kernel's modprobe.
package main

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"noid/internal/agent"
	"noid/internal/link/files"
	"noid/internal/link/tarfs"
	"noid/internal/version"
)

// The kernel names a process after the file that it was executed by: "3", for noid-init does so by a descriptor. That
// is the name of the main thread, which package initialization runs on and main need not.
func init() {
	name, _ := unix.BytePtrFromString("noid-agent") // TASK_COMM_LEN allows 15 characters
	unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(name)), 0, 0, 0)
}

func main() {
	args := os.Args[1:]
	if len(args) > 0 {
		switch args[0] {
		case "tar-create", "tar-extract":
			os.Exit(tarfs.Main(args, os.Stdin, os.Stdout, os.Stderr))
		case files.Tool:
			os.Exit(files.Main(args[1:], os.Stdout, os.Stderr))
		case "grow-disk":
			end(agent.GrowDisk(args[1:]))
		case "trust":
			end(agent.Trust("/", args[1:], os.Stdin, func(text string) { fmt.Fprintln(os.Stderr, text) }))
		case "changes":
			end(agent.Changes(os.Stdout, os.Stderr))
		case "walk":
			end(agent.Walk(os.Stdout, args[1:]))
		case "processes":
			end(agent.Processes(os.Stdout))
		case "contents":
			end(agent.Contents(os.Stdin, os.Stdout))
		case "listen":
			end(agent.Listen(args[len(args)-1]))
		case "-q": // so the kernel asks for a module: modprobe -q -- NAME
			end(agent.Modprobe(args[len(args)-1]))
		case "--version":
			fmt.Println("noid-agent", version.Release)
			return
		case agent.Revived:
			fmt.Fprintf(os.Stderr, "noid-agent: starting again: %v\n", agent.Revive(os.Args[0]))
			os.Exit(1)
		case "--init":
		default:
			fmt.Fprintf(os.Stderr, "noid-agent: unknown argument %q\n", args[0])
			os.Exit(2)
		}
	}
	agent.Run(version.Release, len(args) > 0)
}

// end ends a tool.
func end(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}
