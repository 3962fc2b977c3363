package cli

import (
	"bytes"
	"testing"
)

// TestLogLines prints lines that come in pieces, and leaves out one that was cut when the log was bounded.
func TestLogLines(t *testing.T) {
	for raw, want := range map[bool]string{
		false: "1 refused to=a why=\\x1b[2J\n2 missed count=3\n",
		true:  `{"time":1,"event":"refused","to":"a","why":"\u001b[2J"}` + "\n" + `{"time":2,"event":"missed","count":3}` + "\n",
	} {
		var out bytes.Buffer
		l := &logLines{out: &out, raw: raw}
		text := `fused","to":"b"}` + "\n" + `{"time":1,"event":"refused","to":"a","why":"\u001b[2J"}` + "\n" + `{"time":2,"event":"missed","count":3}` + "\n"
		for _, piece := range []string{text[:3], text[3:40], text[40:]} {
			if n, err := l.Write([]byte(piece)); n != len(piece) || err != nil {
				t.Errorf("%d, %v", n, err)
			}
		}
		if out.String() != want {
			t.Errorf("raw %v: %q, want %q", raw, out.String(), want)
		}
	}
}
