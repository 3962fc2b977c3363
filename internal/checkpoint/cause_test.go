package checkpoint

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestPack(t *testing.T) {
	was := Record{Label: "a label", Parent: "vm@0123abcd", Cause: Cause{By: ByAuto, What: "sh -c 'a\tb\nc'", Turn: "7"}}
	var got Record
	if !got.Unpack(was.Pack()) || strings.ContainsRune(was.Pack(), '\n') {
		t.Fatalf("%q cannot be unpacked", was.Pack())
	}
	if diff := cmp.Diff(was, got); diff != "" {
		t.Error(diff)
	}
	for _, line := range []string{"", "label", "a\tb\tc\td\te", "a\tb\tc\td\t\"e\"\tf"} {
		if got.Unpack(line) {
			t.Errorf("%q is no line of Pack", line)
		}
	}
}

func TestCommandLine(t *testing.T) {
	if got := CommandLine([]string{"ls", "-l", "a b"}); got != "ls -l a b" {
		t.Errorf("%q", got)
	}
	for shift := range 4 {
		got := CommandLine([]string{strings.Repeat("x", shift) + strings.Repeat("€", 1000)})
		if !utf8.ValidString(got) || strings.ContainsRune(got, '\uFFFD') || len(got) > maxWhat+len("…") || len(got) < maxWhat-3 {
			t.Errorf("after %d bytes: %d bytes, %q at the end", shift, len(got), got[len(got)-8:])
		}
	}
	if got := CommandLine([]string{"a\xffb"}); got != "a\uFFFDb" {
		t.Errorf("%q", got)
	}
}

func TestAutomatic(t *testing.T) {
	for _, c := range []struct {
		Record
		automatic, labelled bool
	}{
		{Record{}, false, false},
		{Record{Label: "fresh"}, false, true},
		{Record{Label: BackupLabel + "0123abcd"}, true, false},
		{Record{Label: BackupLabel}, false, true},
		{Record{Cause: Cause{By: ByAuto}}, true, false},
	} {
		if c.Automatic() != c.automatic || c.Labelled() != c.labelled {
			t.Errorf("%+v: automatic %v, labelled %v", c.Record, c.Automatic(), c.Labelled())
		}
	}
}
