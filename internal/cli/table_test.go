package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTable(t *testing.T) {
	var b strings.Builder
	table(&b, []string{"id", "label"}, [][]string{{"1", "é\x1b[31m"}, {"22", ""}})
	want := strings.Join([]string{
		`+----+-----------+`,
		`| id | label     |`,
		`+----+-----------+`,
		`| 1  | é\x1b[31m |`,
		`+----+-----------+`,
		`| 22 |           |`,
		`+----+-----------+`,
		``}, "\n")
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

// TestPrintJSON escapes what terminals act on, and says the same.
func TestPrintJSON(t *testing.T) {
	text := "é😀 \x1b[31m\x7f\u009b31m\u202e\u200b\U000e0041<\n"
	var b strings.Builder
	if err := printJSON(&b, text); err != nil {
		t.Fatal(err)
	}
	if want := `"é😀 \u001b[31m\u007f\u009b31m\u202e\u200b\udb40\udc41\u003c\n"` + "\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
	var got string
	if err := json.Unmarshal([]byte(b.String()), &got); err != nil || got != text {
		t.Errorf("it says %q: %v", got, err)
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 4096: "4.0 KiB", 10 << 10: "10 KiB", 1<<20 - 1: "1.0 MiB", 1 << 20: "1.0 MiB",
		1500 << 10: "1.5 MiB", 128 << 20: "128 MiB", 1 << 30: "1.0 GiB", 3 << 40: "3.0 TiB", 1<<63 - 1: "8192 PiB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestNameAndRef(t *testing.T) {
	for _, c := range []struct {
		args      []string
		name, ref string
		bad       bool
	}{
		{[]string{"a", "12ab"}, "a", "12ab", false},
		{[]string{"a@12ab"}, "a", "12ab", false},
		{[]string{"a", "a@12ab"}, "a", "12ab", false},
		{[]string{"a", "before restore to 12"}, "a", "before restore to 12", false},
		{[]string{"a"}, "", "", true},
		{[]string{"a@1", "2"}, "", "", true},
		{[]string{"../x", "2"}, "", "", true},
	} {
		var name, ref string
		err := refArguments((&app{}).restoreCmd(), c.args)
		if err == nil {
			name, ref, err = nameAndRef(c.args)
		}
		if name != c.name || ref != c.ref || (err != nil) != c.bad {
			t.Errorf("%q: %q, %q, %v", c.args, name, ref, err)
		}
	}
}
