package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"noid/internal/untrusted"
)

// maxCell bounds a cell, in characters: a path fits, a flood does not.
const maxCell = 512

// table prints rows under header with a rule after every row. Cells are made harmless first.
func table(w io.Writer, header []string, rows [][]string) {
	width := make([]int, len(header))
	all := append([][]string{header}, rows...)
	for _, row := range all {
		for i, cell := range row {
			row[i] = untrusted.Line(cell, maxCell)
			width[i] = max(width[i], utf8.RuneCountInString(row[i]))
		}
	}
	var rule strings.Builder
	for _, n := range width {
		rule.WriteString("+" + strings.Repeat("-", n+2))
	}
	rule.WriteString("+\n")
	var b strings.Builder
	b.WriteString(rule.String())
	for _, row := range all {
		for i, cell := range row {
			fmt.Fprintf(&b, "| %s%s ", cell, strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)))
		}
		b.WriteString("|\n" + rule.String())
	}
	io.WriteString(w, b.String())
}

// quietColumn gives a listing's -q docker's meaning: the names alone, or the ids.
func (a *app) quietColumn(cmd *cobra.Command, what string) {
	cmd.Flags().BoolVarP(&a.quiet, "quiet", "q", false, "print the "+what+" alone")
}

// printColumn prints the first cell of each row, for 'noid VERB $(noid list -q)'.
func (a *app) printColumn(rows [][]string) {
	for _, row := range rows {
		fmt.Fprintln(a.out, untrusted.Line(row[0], maxCell))
	}
}

// size is how tables show a number of bytes.
func size(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10) + " B"
	}
	value, unit := float64(n)/1024, 0
	for ; value >= 1023.5 && unit < 4; unit++ {
		value /= 1024
	}
	digits := 0
	if value < 9.95 {
		digits = 1
	}
	return strconv.FormatFloat(value, 'f', digits, 64) + " " + [...]string{"KiB", "MiB", "GiB", "TiB", "PiB"}[unit]
}

// count is n things: "1 checkpoint", "2 checkpoints".
func count(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return strconv.Itoa(n) + " " + thing
}

// local is how tables show a time.
func local(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

// utc is how JSON shows a time: RFC 3339, to the second.

// printJSON writes v. What a terminal might act on is escaped: package json does so with less of it than untrusted.Text.
func printJSON(w io.Writer, v any) error {
	var b, out strings.Builder
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return err
	}
	for _, r := range b.String() {
		if r < 0x7f || unicode.IsGraphic(r) {
			out.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&out, `\u%04x`, unit)
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}
