package vmm

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// FuzzPrintable quotes what a VMM says in an error message: one line, of bounded length.
func FuzzPrintable(f *testing.F) {
	f.Add([]byte("qemu: \x1b[31mfailed\r\nbadly\n"), uint16(20))
	f.Add([]byte("\xff\xc3"), uint16(0))
	f.Add([]byte("äöü"), uint16(3))
	f.Fuzz(func(t *testing.T, b []byte, max uint16) {
		got := Printable(b, int(max))
		if len(got) > 2*int(max)+len("…") || !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%d bytes, %d allowed: %q", len(got), max, got)
		}
		Panicked(b)
	})
}

// FuzzProcess reads a helper's arguments: what Args makes is read back.
func FuzzProcess(f *testing.F) {
	f.Add("1", "2", "3")
	f.Add("-1", "18446744073709551615", "")
	f.Fuzz(func(t *testing.T, pid, ticks, boot string) {
		p, err := ParseProcess([]string{pid, ticks, boot})
		if err != nil {
			return
		}
		if q, err := ParseProcess(p.Args()); err != nil || q != p {
			t.Errorf("%+v becomes %+v, %v", p, q, err)
		}
	})
}
