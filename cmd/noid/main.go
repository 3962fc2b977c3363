// Command noid makes, runs, checkpoints and restores microVMs.
package main

import (
	"os"

	"noid/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:])) }
