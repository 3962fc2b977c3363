package untrusted

import (
	"bytes"
	"strings"
	"testing"
)

func TestEnd(t *testing.T) {
	for _, test := range []struct {
		in   string
		max  int
		want string
	}{
		{"plain", 10, "plain"},
		{"two\r\nlines\n", 20, "two; lines"},
		{"\x1b[31mred\x00\xff", 20, `\x1b[31mred\x00\xff`},
		{"0123456789", 4, "…6789"},
	} {
		if got := End([]byte(test.in), test.max); got != test.want {
			t.Errorf("End(%q, %d): %q, want %q", test.in, test.max, got, test.want)
		}
	}
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"plain\ttext\n":            "plain\ttext\n",
		"a\r\nb\r\r\nc":            "a\nb\nc",
		"over\rwrite":              `over\x0dwrite`,
		"\r":                       `\x0d`,
		"\x1b[31mred\x1b]0;t\a":    `\x1b[31mred\x1b]0;t\x07`,
		"ünï ☃ 😀 \u00a0":           "ünï ☃ 😀 \u00a0",
		"\u009b31m":                `\u009b31m`,
		"\x9b31m \xff\xc3":         `\x9b31m \xff\xc3`,
		"abc\u202edef\u2066\ufeff": `abc\u202edef\u2066\ufeff`,
		"\u2028 \U000e0041":        `\u2028 \U000e0041`,
		"nul\x00del\x7f":           `nul\x00del\x7f`,
		"\xed\xa0\x80":             `\xed\xa0\x80`,
	} {
		if got := Text([]byte(in)); got != want {
			t.Errorf("Text(%q) = %q, want %q", in, got, want)
		}
		var b bytes.Buffer
		s := NewWriter(&b)
		for i := range len(in) {
			s.Write([]byte{in[i]})
		}
		if s.Flush(); b.String() != want {
			t.Errorf("%q byte by byte gave %q, want %q", in, b.String(), want)
		}
	}
}

func TestLine(t *testing.T) {
	for _, c := range []struct {
		in   string
		max  int
		want string
	}{
		{" a\n\tb \r\n", 10, "a b"},
		{"0123456789", 10, "0123456789"},
		{"0123456789x", 10, "012345678…"},
		{"☃☃☃☃", 3, "☃☃…"},
		{"abc", 1, "…"},
		{"abc", 0, ""},
		{"\x1bc", 20, `\x1bc`},
		{strings.Repeat("x", 1<<20), 4, "xxx…"},
	} {
		if got := Line(c.in, c.max); got != c.want {
			t.Errorf("Line(%.20q, %d) = %q, want %q", c.in, c.max, got, c.want)
		}
	}
}
