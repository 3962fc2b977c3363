// Package shell writes words for a POSIX shell.
package shell

import "strings"

// plain are the characters that no shell treats as its own, wherever in a word they stand. "~" and "#" do not belong to
// them, as they mean something at a word's beginning.
const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-./:@%+,="

// Quote is words as a line of which a POSIX shell makes the very same words. A word of plain characters stays as it is.
func Quote(words ...string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		if w == "" || strings.Trim(w, plain) != "" {
			w = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		quoted[i] = w
	}
	return strings.Join(quoted, " ")
}
