package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"noid/internal/version"
)

// tree is a copy of noid's sources as a fresh clone has them.
type tree struct {
	*testing.T
	dir string
}

func newTree(t *testing.T) tree {
	t.Helper()
	dir := t.TempDir()
	for _, sub := range []string{"cmd", "internal", "scripts"} {
		if err := os.CopyFS(filepath.Join(dir, sub), os.DirFS("../../"+sub)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"Makefile", "go.mod", "go.sum"} {
		data, err := os.ReadFile("../../" + name)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	tr := tree{t, dir}
	for _, path := range tr.programs() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	return tr
}

func (t tree) programs() []string {
	paths, err := filepath.Glob(filepath.Join(t.dir, "internal/boot/programs/*.gz"))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// run runs a command in the tree, without what a make above this test passes on, and returns what it prints.
func (t tree) run(name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = t.dir
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(s string) bool {
		name, _, _ := strings.Cut(s, "=")
		return slices.Contains([]string{"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "VERSION"}, name)
	}), "CGO_ENABLED=0")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v: %s%s", name, args, err, out, stderr.String())
	}
	return string(out)
}

// says compares what 'noid version' says of itself.
func (t tree) says(noid, release string, complete bool) {
	t.Helper()
	line := t.run(noid, "version")
	if !strings.HasPrefix(line, "noid "+release+" ") || strings.Contains(line, "build noid with 'make build'") == complete {
		t.Errorf("version: %q, want %s, complete: %v", line, release, complete)
	}
	var got struct {
		Version       string
		GuestPrograms *bool `json:"guest_programs"`
	}
	text := t.run(noid, "version", "--json")
	if err := json.Unmarshal([]byte(text), &got); err != nil || got.Version != release || got.GuestPrograms == nil || *got.GuestPrograms != complete {
		t.Errorf("version --json: %v %s, want %s, complete: %v", err, text, release, complete)
	}
}

// built returns the sums of what make built, by the files' names.
func (t tree) built() map[string][32]byte {
	t.Helper()
	sums := map[string][32]byte{}
	for _, path := range append(t.programs(), filepath.Join(t.dir, "bin/noid")) {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		sums[filepath.Base(path)] = sha256.Sum256(data)
	}
	if len(sums) != 5 {
		t.Errorf("make built %d files, want noid and four programs", len(sums))
	}
	return sums
}

// TestBuild builds noid from fresh sources: with go alone, with make and a version, and with make again.
func TestBuild(t *testing.T) {
	tr := newTree(t)
	tr.run("go", "build", "-trimpath", "-o", "plain", "./cmd/noid") // -trimpath: out of make's cache
	tr.says("./plain", version.Release, false)

	tr.run("make", "VERSION=9.9", "build")
	tr.says("bin/noid", "9.9", true)
	if got, want := tr.agentVersion(), "noid-agent 9.9\n"; got != want {
		t.Errorf("the embedded agent says %q, want %q", got, want)
	}

	tr.run("make", "build")
	tr.says("bin/noid", version.Release, true)
	first := tr.built()
	if err := os.RemoveAll(filepath.Join(tr.dir, "bin")); err != nil {
		t.Fatal(err)
	}
	tr.run("make", "build")
	for name, sum := range tr.built() {
		if sum != first[name] {
			t.Errorf("the second make built another %s", name)
		}
	}
}

// agentVersion runs the agent for this machine, after a look whether it is the one in bin/noid.
func (t tree) agentVersion() string {
	t.Helper()
	packed, err := os.ReadFile(filepath.Join(t.dir, "internal/boot/programs/noid-agent-"+runtime.GOARCH+".gz"))
	if err != nil {
		t.Fatal(err)
	}
	if noid, err := os.ReadFile(filepath.Join(t.dir, "bin/noid")); err != nil || !bytes.Contains(noid, packed) {
		t.Errorf("bin/noid does not hold the agent that was built (%v)", err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(z)
	if err == nil {
		err = os.WriteFile(filepath.Join(t.dir, "agent"), data, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return t.run("./agent", "--version")
}
