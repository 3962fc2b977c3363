package e2e

import (
	"os"
	"strings"
	"testing"
)

// TestMovedHome moves a home while no VM runs: what its records name by path, kernels, is found in it all the same.
func TestMovedHome(t *testing.T) {
	t.Parallel()
	n := setup(t)
	n.tiny("a")
	n.answers("a", "s one", "token one")
	id := strings.TrimSpace(n.want(0, "checkpoint", "a"))
	n.want(0, "stop", "--force", "a")
	moved := n.home + "-moved"
	check(t, os.Rename(n.home, moved))
	old := n.home
	n.home = moved
	defer func() {
		n.run("destroy", "a", "--checkpoints")
		check(t, os.RemoveAll(old)) // what 'list' made there, if anything
	}()
	n.want(0, "verify", "a", "--read-data")
	n.want(0, "start", "a")
	n.answers("a", "g", "token ")
	n.want(0, "restore", "a", id)
	n.answers("a", "g", "token one")
	n.want(0, "restore", "a", id, "--as", "b")
	n.answers("b", "g", "token one")
	n.want(0, "destroy", "b")
}
