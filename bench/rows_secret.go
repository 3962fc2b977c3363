package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// nsPerOp is the result of a Go benchmark.
var nsPerOp = regexp.MustCompile(`(?m)^Benchmark\S+\s+\d+\s+(\d+) ns/op$`)

// rowIntercepted has package network/server's own benchmark measure: its guest is this host's kernel, in a namespace.
func rowIntercepted(x *trial) (err error) {
	dir, err := os.MkdirTemp("", "noid-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	root, err := exec.CommandContext(x.ctx, "go", "list", "-m", "-f", "{{.Dir}}", "noid").Output()
	if err != nil {
		return fmt.Errorf("finding noid's module: %w", err)
	}
	program := filepath.Join(dir, "server.test")
	build := exec.CommandContext(x.ctx, "go", "test", "-c", "-o", program, "./internal/network/server")
	build.Dir = strings.TrimSpace(string(root))
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the benchmark: %w: %s", err, out)
	}
	side := func(name string) func(int) (float64, error) {
		return func(int) (float64, error) {
			cmd := exec.CommandContext(x.ctx, program, "-test.run=^$", "-test.bench=^BenchmarkRequest$/"+name, "-test.benchtime=300x")
			cmd.Dir = dir
			out, err := cmd.CombinedOutput()
			found := nsPerOp.FindSubmatch(out)
			if err != nil || found == nil {
				return 0, fmt.Errorf("the benchmark %s: %w: %s", name, err, out)
			}
			ns, err := strconv.ParseFloat(string(found[1]), 64)
			return ns / 1e6, err
		}
	}
	for _, kind := range []string{"kept", "new"} {
		as, bs, err := x.pairs(side(kind+"/secret"), side(kind+"/plain"))
		if err != nil {
			return err
		}
		x.add(result{Name: x.r.what + ", " + map[string]string{"kept": "on one connection", "new": "each on its own"}[kind], A: as, B: bs})
	}
	return nil
}
