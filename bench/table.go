package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
)

// number writes v with three digits, as far as they say something.
func number(v float64) string {
	switch abs := math.Abs(v); {
	case math.IsNaN(v):
		return "-"
	case abs >= 100:
		return fmt.Sprintf("%.0f", v)
	case abs >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// got writes what a result came to, and its goal in the same form.
func (r result) outcome() (got, limit string) {
	switch r.Goal.Kind {
	case "ratio":
		return number(r.got()) + "×", "≤ " + number(r.Goal.Max) + "×"
	case "more":
		return fmt.Sprintf("%+.2f %s", r.got(), r.Unit), fmt.Sprintf("≤ %+.2f %s", r.Goal.Max, r.Unit)
	}
	return number(r.got()) + " " + r.Unit, "≤ " + number(r.Goal.Max) + " " + r.Unit
}

// cells are a result's columns, see header.
func (r result) cells() []string {
	got, limit := r.outcome()
	name := r.Name
	if r.Note != "" {
		name += " (" + r.Note + ")"
	}
	if r.NotRun != "" {
		return []string{r.Row, r.Set, name, "-", "-", "0", "-", limit, "not run: " + r.NotRun}
	}
	met := "no"
	if r.met() {
		met = "yes"
	}
	b := "-"
	if len(r.B) > 0 {
		b = number(median(r.B)) + " " + r.Unit
	}
	return []string{r.Row, r.Set, name, number(median(r.A)) + " " + r.Unit, b, fmt.Sprint(len(r.A)), got, limit, met}
}

var header = []string{"row", "set", "what, beside what", "median", "beside", "n", "got", "goal", "met"}

// writeTable writes results as a markdown table.
func writeTable(w io.Writer, results []result) error {
	line := func(cells []string) error {
		for i, c := range cells {
			cells[i] = strings.NewReplacer("|", "\\|", "\n", " ").Replace(c)
		}
		_, err := fmt.Fprintln(w, "| "+strings.Join(cells, " | ")+" |")
		return err
	}
	if err := line(append([]string(nil), header...)); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(w, strings.Repeat("|---", len(header))+"|"); err != nil {
		return err
	}
	for _, r := range results {
		if err := line(r.cells()); err != nil {
			return err
		}
	}
	return nil
}

// A report is all of one run.
type report struct {
	Machine  machine  `json:"machine"`
	Results  []result `json:"results"`
	Failures []string `json:"failures,omitempty"` // rows in which something broke
}

// write writes the report for people: the machine, then the table.
func (r report) write(w io.Writer) error {
	if _, err := io.WriteString(w, r.Machine.String()+"\n"); err != nil {
		return err
	}
	if err := writeTable(w, r.Results); err != nil {
		return err
	}
	for _, f := range r.Failures {
		if _, err := fmt.Fprintln(w, "\nBROKEN: "+f); err != nil {
			return err
		}
	}
	return nil
}

// encode is the report as JSON, every sample in it.
func (r report) encode() ([]byte, error) {
	data, err := json.MarshalIndent(r, "", "  ")
	return append(data, '\n'), err
}
