package shell

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestQuote: a shell makes the same words of what Quote has made of them.
func TestQuote(t *testing.T) {
	t.Parallel()
	want := []string{"", "a", "a b", "'", `"`, `\`, "$HOME", "`id`", "!!", "*", "~", "a=b", "\n", "\t", "#", "é", "\x01\xff", "a'b'c", "-e", ";&|<>(){}[]?"}
	for _, sh := range []string{"sh", "bash", "dash"} {
		out, err := exec.Command(sh, "-c", `printf '%s\0' `+Quote(want...)).Output()
		if err != nil {
			t.Errorf("%s: %v", sh, err)
			continue
		}
		got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
		if !cmp.Equal(got, want) {
			t.Errorf("%s: %s", sh, cmp.Diff(want, got))
		}
	}
}
