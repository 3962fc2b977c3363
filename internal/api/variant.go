package api

import (
	"noid/internal/untrusted"
	"noid/internal/vm"
)

// Variant is a variant of an exploration that has ended.
type Variant struct {
	Variant    int     `json:"variant"`
	Command    string  `json:"command"`
	ExitCode   int     `json:"exit_code"`
	TimedOut   bool    `json:"timed_out,omitempty"`
	Seconds    float64 `json:"seconds"`
	Score      string  `json:"score,omitempty"`
	Changes    *int    `json:"changes,omitempty"` // files, where they were asked for
	Checkpoint string  `json:"checkpoint,omitempty"`
	Output     string  `json:"output"` // the end of it
	Error      string  `json:"error,omitempty"`
}

// VariantOf is v, with its changes if they were counted.
func VariantOf(v vm.Variant, changes bool) Variant {
	j := Variant{Variant: v.N, Command: v.What, ExitCode: v.Exit.Code, TimedOut: v.Exit.TimedOut, Seconds: v.Took.Seconds(), Score: v.Score,
		Checkpoint: v.ID, Output: untrusted.Text(v.Output), Error: v.Exit.Error}
	if changes && v.ID != "" {
		j.Changes = &v.Changes
	}
	if v.Err != nil {
		j.Error = untrusted.Text([]byte(v.Err.Error()))
	}
	return j
}
