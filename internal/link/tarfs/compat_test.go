package tarfs

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var sorted = cmp.Transformer("sorted", func(s []string) string {
	s = slices.Clone(s)
	slices.Sort(s)
	return strings.Join(s, "\n")
})

// TestTarReadsOurs and TestOursReadsTar hold the plain stream against tar(1).
func TestTarReadsOurs(t *testing.T) {
	needTar(t)
	src, dst := filepath.Join(t.TempDir(), "src"), t.TempDir()
	oddTree(t, src)
	must(t, os.Truncate(filepath.Join(src, "empty"), 1<<20)) // one hole
	var stream bytes.Buffer
	_, err := Create(t.Context(), &stream, []string{src}, CreateOptions{Recursive: true, Plain: true})
	must(t, err)
	cmd := exec.Command("tar", "xpf", "-", "-C", dst)
	cmd.Stdin = &stream
	defer os.Chmod(filepath.Join(dst, "src", "sub", "deeper"), 0o755)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%s %v", out, err)
	}
	if diff := cmp.Diff(tree(t, src), tree(t, filepath.Join(dst, "src"))); diff != "" {
		t.Error(diff)
	}
}

func TestOursReadsTar(t *testing.T) {
	needTar(t)
	src := filepath.Join(t.TempDir(), "src")
	oddTree(t, src)
	must(t, os.Truncate(filepath.Join(src, "empty"), 1<<20))
	for _, format := range [][]string{{"--format=posix"}, {"--format=gnu"}, {"--format=posix", "--sparse"}, {"--format=gnu", "--sparse"}} {
		dst := t.TempDir()
		out, err := exec.Command("tar", append(format, "-cf", "-", "-C", filepath.Dir(src), "src")...).Output()
		must(t, err)
		if stats, err := Extract(t.Context(), bytes.NewReader(out), dst, ExtractOptions{Warn: func(s string) { t.Error(s) }}); err != nil || stats.Failed > 0 {
			t.Fatal(stats, err)
		}
		defer os.Chmod(filepath.Join(dst, "src", "sub", "deeper"), 0o755)
		want, got := tree(t, src), tree(t, filepath.Join(dst, "src"))
		if format[0] == "--format=gnu" { // whole seconds
			seconds(want)
			seconds(got)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(format, diff)
		}
	}
}

func seconds(nodes map[string]node) {
	for name, n := range nodes {
		n.Time -= ((n.Time % 1e9) + 1e9) % 1e9
		nodes[name] = n
	}
}

func needTar(t *testing.T) {
	t.Helper()
	out, err := exec.Command("tar", "--version").Output()
	if err != nil || !bytes.Contains(out, []byte("GNU tar")) {
		t.Skip("no GNU tar")
	}
}
