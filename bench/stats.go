package main

import (
	"math"
	"slices"
)

// median is the middle of samples, or the mean of the two in the middle; NaN of none. samples stay as they are.
func median(samples []float64) float64 {
	if len(samples) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(samples))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// A goal says what a result is held against.
type goal struct {
	// Kind is "ratio" (median of A over median of B), "more" (median of A minus median of B, in the result's unit)
	// or "value" (median of A alone).
	Kind string  `json:"kind"`
	Max  float64 `json:"max"`
}

func ratio(limit float64) goal { return goal{"ratio", limit} }
func more(limit float64) goal  { return goal{"more", limit} }
func value(limit float64) goal { return goal{"value", limit} }

// A result is one line of the table.
type result struct {
	Row  string `json:"row"` // the number that -run takes
	Set  string `json:"set"`
	Name string `json:"name"` // what A is, beside what B is
	Unit string `json:"unit"` // of the samples: ms, %, bytes
	Goal goal   `json:"goal"`
	// A and B are the samples in the order in which they were taken, in turns. With a goal of kind
	// "value", B counts for nothing and may be empty.
	A      []float64 `json:"a"`
	B      []float64 `json:"b,omitempty"`
	Note   string    `json:"note,omitempty"`
	NotRun string    `json:"not_run,omitempty"` // why there are no samples
}

// got is what the goal is about: a ratio, a difference or a value; NaN when a sample is missing or B's median is 0.
func (r result) got() float64 {
	a, b := median(r.A), median(r.B)
	switch r.Goal.Kind {
	case "ratio":
		if b == 0 {
			return math.NaN()
		}
		return a / b
	case "more":
		return a - b
	}
	return a
}

// met reports whether the goal is. What was not run has met nothing.
func (r result) met() bool { return r.NotRun == "" && r.got() <= r.Goal.Max }
