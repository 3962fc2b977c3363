package untrusted

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text makes what a guest wrote safe for a terminal. Newline, tab and printable UTF-8 pass. Carriage returns before a
// newline are removed. Every other control byte, escape, bidirectional or invisible character and invalid UTF-8 is
// spelled out, such as \x1b or \u202e.
func Text(data []byte) string {
	var b bytes.Buffer
	s := NewWriter(&b)
	s.Write(data) // a bytes.Buffer does not fail
	s.Flush()
	return b.String()
}

// Line is Text for a table's cell or an error message: white space of any length becomes one space, and what is
// longer than max characters ends in "…".
func Line(s string, max int) string {
	if len(s) <= max && isPlain(s) {
		return s // as nearly all are: a table has thousands of cells
	}
	if limit := 64 * (max + 1); len(s) > limit { // more cannot be shown; do not work on it
		s = s[:limit]
	}
	out := []rune(strings.Join(strings.Fields(Text([]byte(s))), " "))
	if len(out) > max {
		out = append(out[:max-min(max, 1)], '…')[:max]
	}
	return string(out)
}

// isPlain reports whether s is printable ASCII in words that single spaces part: what Line leaves as it is.
func isPlain(s string) bool {
	space := true // before the first word, and after a space
	for i := range len(s) {
		switch c := s[i]; {
		case c == ' ' && space, c < ' ', c > '~':
			return false
		default:
			space = c == ' '
		}
	}
	return !space || s == ""
}

// End is Text for the end of a log in an error message: at most max bytes of b, its lines joined by "; ".
func End(b []byte, max int) string {
	mark := ""
	if len(b) > max {
		b, mark = b[len(b)-max:], "…"
	}
	return mark + strings.NewReplacer("\n", "; ", "\t", " ").Replace(strings.TrimSpace(Text(b)))
}

// Writer is Text as a stream.
type Writer struct {
	w       io.Writer
	partial []byte // the beginning of a UTF-8 sequence, at most 3 bytes
	crs     int    // carriage returns seen whose fate the next byte decides
}

// NewWriter returns a writer that passes on to w what Text makes of its input. Flush ends the stream.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write implements io.Writer; it reports the bytes taken, not those passed on.
func (s *Writer) Write(data []byte) (int, error) {
	n := len(data)
	for len(data) > 0 { // in pieces, since one byte may become four
		piece := data[:min(len(data), 8192)]
		data = data[len(piece):]
		if _, err := s.w.Write(s.clean(append(s.partial, piece...), false)); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// Flush writes what was held back for want of the next byte.
func (s *Writer) Flush() error {
	_, err := s.w.Write(s.clean(s.partial, true))
	return err
}

func (s *Writer) clean(in []byte, last bool) []byte {
	out := make([]byte, 0, len(in)+16)
	s.partial = nil
	for len(in) > 0 {
		if !last && !utf8.FullRune(in) {
			s.partial = bytes.Clone(in)
			return out
		}
		r, size := utf8.DecodeRune(in)
		if r == '\r' {
			s.crs = min(s.crs+1, 16) // more than a few say no more
			in = in[1:]
			continue
		}
		if r != '\n' {
			out = s.spellCRs(out)
		}
		s.crs = 0
		switch {
		case r == utf8.RuneError && size == 1:
			out = fmt.Appendf(out, `\x%02x`, in[0])
		case r == '\n' || r == '\t' || unicode.IsGraphic(r):
			out = append(out, in[:size]...)
		case r < 0x80:
			out = fmt.Appendf(out, `\x%02x`, r)
		case r > 0xffff:
			out = fmt.Appendf(out, `\U%08x`, r)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		in = in[size:]
	}
	if last {
		out = s.spellCRs(out)
		s.crs = 0
	}
	return out
}

func (s *Writer) spellCRs(out []byte) []byte {
	for range s.crs {
		out = append(out, `\x0d`...)
	}
	return out
}
