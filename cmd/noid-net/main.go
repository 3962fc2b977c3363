// Command noid-net is the network helper of a VM. noid embeds it and starts it beside each VMM that has a network.
package main

import (
	"context"
	"fmt"
	"os"

	"noid/internal/network/server"
)

func main() {
	if err := server.Run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "noid-net:", err)
		os.Exit(1)
	}
}
