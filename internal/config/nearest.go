package config

import "strings"

// Nearest returns the candidate that word is most likely a misspelling of, or "": at most two letters inserted, left
// out, replaced or swapped with their neighbour, and fewer than half of the word's. Of equals the first wins.
func Nearest(word string, candidates []string) string {
	word = strings.ToLower(word)
	if len(word) > 64 { // nobody's typing mistake; keeps the work small
		return ""
	}
	best, nearest := 3, ""
	for _, c := range candidates {
		if d := distance(word, strings.ToLower(c)); d < best && 2*d < max(len(word), len(c)) {
			best, nearest = d, c
		}
	}
	return nearest
}

// distance is the optimal string alignment distance of a and b, in bytes.
func distance(a, b string) int {
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		for j := range d[i] {
			if i == 0 || j == 0 {
				d[i][j] = i + j
				continue
			}
			d[i][j] = min(d[i-1][j], d[i][j-1], d[i-1][j-1]) + 1
			if a[i-1] == b[j-1] {
				d[i][j] = d[i-1][j-1]
			} else if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
