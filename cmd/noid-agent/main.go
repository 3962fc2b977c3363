// Command noid-agent is the agent in a guest. noid's initramfs starts it beside the root file system's own init, or as PID 1
// (with --init) where there is none. Its tools (tar-create, tar-extract) serve noid's cp.
package main

import (
	"fmt"
	"os"

	"noid/internal/agent"
	"noid/internal/tarfs"
)

// release is set by the linker.
var release = "dev"

func main() {
	args := os.Args[1:]
	if len(args) > 0 {
		switch args[0] {
		case "tar-create", "tar-extract":
			os.Exit(tarfs.Main(args, os.Stdin, os.Stdout, os.Stderr))
		case "--version":
			fmt.Println("noid-agent", release)
			return
		case "--init":
		default:
			fmt.Fprintf(os.Stderr, "noid-agent: unknown argument %q\n", args[0])
			os.Exit(2)
		}
	}
	agent.Run(release, len(args) > 0)
}
