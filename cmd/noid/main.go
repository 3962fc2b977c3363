// Command noid makes, runs, checkpoints and restores microVMs.
package main

import (
	"os"

	"noid/internal/cli"
	"noid/internal/network/space"
)

func main() {
	space.Main() // this process may be a VMM to be
	os.Exit(cli.Main(os.Args[1:]))
}
