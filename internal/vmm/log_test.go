package vmm

import "testing"

func TestPrintable(t *testing.T) {
	for _, test := range []struct {
		in   string
		max  int
		want string
	}{
		{"plain", 10, "plain"},
		{"two\r\nlines\n", 20, "two; lines"},
		{"\x1b[31mred\x00\xff", 20, "?[31mred??"},
		{"0123456789", 4, "…6789"},
	} {
		if got := Printable([]byte(test.in), test.max); got != test.want {
			t.Errorf("Printable(%q, %d): %q, want %q", test.in, test.max, got, test.want)
		}
	}
}
