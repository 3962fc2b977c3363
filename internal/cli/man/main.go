// Command man writes noid's manual pages, one a command, from the commands themselves: man DIR. SOURCE_DATE_EPOCH is
// their date.
package main

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"noid/internal/cli"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: man DIR")
	}
	date := time.Now()
	if text := os.Getenv("SOURCE_DATE_EPOCH"); text != "" {
		sec, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			log.Fatal(err)
		}
		date = time.Unix(sec, 0)
	}
	root := cli.Commands()
	if err := write(os.Args[1], root, date.UTC().Format(time.DateOnly)); err != nil {
		log.Fatal(err)
	}
}

// write writes the pages of cmd and of the commands below it into dir.
func write(dir string, cmd *cobra.Command, date string) error {
	if err := os.WriteFile(filepath.Join(dir, name(cmd)+".1"), []byte(page(cmd, date)), 0o644); err != nil {
		return err
	}
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			if err := write(dir, c, date); err != nil {
				return err
			}
		}
	}
	return nil
}

// name is that of cmd's page, "noid-config-set".
func name(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// reference is how other pages name that of cmd.
func reference(cmd *cobra.Command) string {
	return fmt.Sprintf("\\fB%s\\fR(1)", escape(name(cmd)))
}
