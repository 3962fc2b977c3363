package mcp

import "testing"

func TestForTools(t *testing.T) {
	for hint, want := range map[string]string{
		"'noid list' shows what there is":                      "hint: the tool list shows what there is",
		"'noid log dev' shows the variants":                    "hint: the tool history shows the variants",
		"choose another name, or 'noid destroy dev' first":     "hint: choose another name, or the tool destroy first",
		"'noid image pull x' gets it, 'noid list' lists them":  "hint for the user, at a shell: 'noid image pull x' gets it, 'noid list' lists them",
		"choose --net default":                                 "hint for the user, at a shell: choose --net default",
		"--no-backup restores without keeping the present":     "hint for the user, at a shell: --no-backup restores without keeping the present",
		"a label is one line of text, at most 200 bytes":       "hint: a label is one line of text, at most 200 bytes",
		"make a vm and copy into that: noid fork a@b --as NEW": "hint for the user, at a shell: make a vm and copy into that: noid fork a@b --as NEW",
	} {
		if got := forTools(hint); got != want {
			t.Errorf("%s: %s", hint, got)
		}
	}
}
