package untrusted

import (
	"bytes"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// FuzzText shows any guest's output: nothing that a terminal acts on, of bounded length, the same however it is cut.
func FuzzText(f *testing.F) {
	for _, seed := range []string{"", "plain\n", "a\r\nb\r\r\nc\rd", "\x1b[31mred\x1b]0;title\x07", "\u202eevil", "\xff\xfe", "ä€😀", "\xe2\x82", "\x9b1m", "\U000e0001", "\x00\x7f\u0085"} {
		f.Add([]byte(seed), uint16(1), uint8(10))
	}
	f.Fuzz(func(t *testing.T, data []byte, cut uint16, width uint8) {
		whole := Text(data)
		if !utf8.ValidString(whole) {
			t.Errorf("invalid UTF-8 %q", whole)
		}
		for _, r := range whole {
			if r != '\n' && r != '\t' && !unicode.IsGraphic(r) {
				t.Errorf("%q lets %U through", whole, r)
			}
		}
		if len(whole) > 4*len(data) {
			t.Errorf("%d bytes from %d", len(whole), len(data))
		}
		if again := Text([]byte(whole)); again != whole {
			t.Errorf("%q becomes %q", whole, again)
		}
		var b bytes.Buffer
		s := NewWriter(&b)
		at := int(cut) % (len(data) + 1)
		for _, part := range [][]byte{data[:at], nil, data[at:]} {
			if n, err := s.Write(part); n != len(part) || err != nil {
				t.Fatal(n, err)
			}
		}
		s.Flush()
		if b.String() != whole {
			t.Errorf("cut at %d: %q, whole: %q", at, b.String(), whole)
		}
		line := Line(string(data), int(width))
		if utf8.RuneCountInString(line) > int(width) || strings.ContainsAny(line, "\n\t\r\x1b") || !utf8.ValidString(line) {
			t.Errorf("Line of %d: %q", width, line)
		}
	})
}

// FuzzEnd quotes what a VMM says in an error message: one line, of bounded length.
func FuzzEnd(f *testing.F) {
	f.Add([]byte("qemu: \x1b[31mfailed\r\nbadly\n"), uint16(20))
	f.Add([]byte("\xff\xc3"), uint16(0))
	f.Add([]byte("äöü"), uint16(3))
	f.Fuzz(func(t *testing.T, b []byte, max uint16) {
		got := End(b, int(max))
		if len(got) > 10*int(max)+len("…") || !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsGraphic(r) }) {
			t.Errorf("%d bytes, %d allowed: %q", len(got), max, got)
		}
	})
}
