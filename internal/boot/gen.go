//go:build ignore

// Gen builds cmd/noid-init and cmd/noid-agent for each architecture and writes them, compressed, to the directory that it is
// given. The same
// toolchain makes the same bytes: no path, time or version control state goes in.
package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"flag"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
)

func main() {
	log.SetFlags(0)
	dir := flag.String("o", "bin", "directory to write to")
	flag.Parse()
	version, err := release("../../Makefile")
	if err != nil {
		log.Fatal(err)
	}
	for _, program := range []string{"noid-init", "noid-agent"} {
		for _, arch := range []string{"amd64", "arm64"} {
			if err := build(*dir, program, arch, version); err != nil {
				log.Fatalf("building %s for %s: %v", program, arch, err)
			}
		}
	}
}

func build(dir, program, arch, version string) error {
	tmp, err := os.MkdirTemp("", program)
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	bin := filepath.Join(tmp, program)
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid= -X main.release="+version, "-o", bin, "noid/cmd/"+program)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOAMD64=v1", "GOARM64=v8.0",
		"GOFLAGS=", "GOWORK=off", "GOEXPERIMENT=", "GODEBUG=")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return err
	}
	data, err := os.ReadFile(bin)
	if err != nil {
		return err
	}
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return err
	}
	z.Write(data)
	if err := z.Close(); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, program+"-"+arch+".gz"), packed.Bytes(), 0o644)
}

// release is noid's, by which the agent names itself. It is not asked of version control: that would make other bytes with
// each commit.
func release(makefile string) (string, error) {
	data, err := os.ReadFile(makefile)
	if err != nil {
		return "", err
	}
	m := regexp.MustCompile(`(?m)^VERSION \?= (\S+)$`).FindSubmatch(data)
	if m == nil {
		return "", errors.New("no VERSION in the Makefile")
	}
	return string(m[1]), nil
}
