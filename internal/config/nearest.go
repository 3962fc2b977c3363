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
	var before []int // the row above prev, for swaps
	prev := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, prev = prev, row
	}
	return prev[len(b)]
}
