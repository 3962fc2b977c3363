// Command list says on its standard output, in the encoding of gob, what files there are below a directory:
// list DIRECTORY [SKIP...]. It runs in guests that have no program of their own.
package main

import (
	"encoding/gob"
	"fmt"
	"os"

	"noid/internal/image/imagetest/listing"
)

func main() {
	files, err := listing.Files(os.Args[1], os.Args[2:]...)
	if err == nil {
		err = gob.NewEncoder(os.Stdout).Encode(files)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "list:", err)
		os.Exit(1)
	}
}
