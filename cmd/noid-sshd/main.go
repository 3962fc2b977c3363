// Command noid-sshd is the SSH server that 'noid ssh-proxy' runs in a guest: it serves one connection on its standard
// input and output. The first 32 bytes of the input are the seed of its host key.
package main

import (
	"fmt"
	"os"

	"noid/internal/sshd"
)

func main() {
	if err := sshd.Main(); err != nil {
		fmt.Fprintln(os.Stderr, "noid-sshd:", err)
		os.Exit(1)
	}
}
