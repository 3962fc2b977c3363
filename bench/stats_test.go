package main

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		samples []float64
		want    float64
	}{
		{[]float64{3}, 3},
		{[]float64{9, 1, 5}, 5},
		{[]float64{4, 1, 3, 2}, 2.5},
		{[]float64{1, 1, 1, 1000}, 1},
	} {
		before := append([]float64(nil), c.samples...)
		if got := median(c.samples); got != c.want {
			t.Errorf("median(%v) is %v, not %v", c.samples, got, c.want)
		}
		for i := range before {
			if before[i] != c.samples[i] {
				t.Errorf("median reorders its samples: %v", c.samples)
				break
			}
		}
	}
	if !math.IsNaN(median(nil)) {
		t.Error("a median of nothing")
	}
}

func TestMet(t *testing.T) {
	for name, c := range map[string]struct {
		r    result
		got  float64
		want bool
	}{
		"ratio at its limit":  {result{Goal: ratio(1.5), A: []float64{15}, B: []float64{10}}, 1.5, true},
		"ratio above":         {result{Goal: ratio(1.5), A: []float64{16}, B: []float64{10}}, 1.6, false},
		"beside nothing":      {result{Goal: ratio(1.5), A: []float64{16}, B: []float64{0}}, math.NaN(), false},
		"no samples":          {result{Goal: ratio(1.5)}, math.NaN(), false},
		"difference":          {result{Goal: more(2), A: []float64{5, 7}, B: []float64{4}}, 2, true},
		"difference too much": {result{Goal: more(2), A: []float64{7}, B: []float64{4}}, 3, false},
		"value":               {result{Goal: value(15), A: []float64{3, 4, 50}}, 4, true},
		"not run":             {result{Goal: value(15), NotRun: "why", A: []float64{1}}, 1, false},
	} {
		if got := c.r.got(); got != c.got && !(math.IsNaN(got) && math.IsNaN(c.got)) {
			t.Errorf("%s: got %v, not %v", name, got, c.got)
		}
		if c.r.met() != c.want {
			t.Errorf("%s: met is %v", name, !c.want)
		}
	}
}

func TestTable(t *testing.T) {
	var out strings.Builder
	err := writeTable(&out, []result{
		{Row: "1", Set: "direct", Name: "a | b", Unit: "ms", Goal: ratio(0.1), A: []float64{200}, B: []float64{1000}},
		{Row: "12", Set: "tcg", Name: "Pss", Unit: "%", Goal: value(15), A: []float64{1.234}, Note: "of RAM"},
		{Row: "13", Set: "tcg", Name: "exec", Unit: "ms", Goal: more(2), A: []float64{10}, B: []float64{9}},
		{Row: "11", Set: "tcg", Name: "fork", Unit: "ms", Goal: ratio(0.7), NotRun: "no such verb"},
	})
	want := `| row | set | what, beside what | median | beside | n | got | goal | met |
|---|---|---|---|---|---|---|---|---|
| 1 | direct | a \| b | 200 ms | 1000 ms | 1 | 0.20× | ≤ 0.10× | no |
| 12 | tcg | Pss (of RAM) | 1.23 % | - | 1 | 1.23 % | ≤ 15.0 % | yes |
| 13 | tcg | exec | 10.0 ms | 9.00 ms | 1 | +1.00 ms | ≤ +2.00 ms | yes |
| 11 | tcg | fork | - | - | 0 | - | ≤ 0.70× | not run: no such verb |
`
	if err != nil || out.String() != want {
		t.Errorf("%v\n%s\nwanted\n%s", err, out.String(), want)
	}
}

func TestJSON(t *testing.T) {
	in := report{Machine: machine{CPU: "x", Cores: 2}, Results: []result{{Row: "1", Goal: ratio(1), A: []float64{1, 2}, B: []float64{3}}}, Failures: []string{"f"}}
	data, err := in.encode()
	if err != nil {
		t.Fatal(err)
	}
	var back report
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if len(back.Results) != 1 || len(back.Results[0].A) != 2 || back.Results[0].Goal != ratio(1) || back.Machine.CPU != "x" || len(back.Failures) != 1 {
		t.Errorf("%s becomes %+v", data, back)
	}
}
