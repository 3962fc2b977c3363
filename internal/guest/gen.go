//go:build ignore

// Gen builds cmd/noid-init for each architecture and writes it, compressed, to the directory that it is given. The same
// toolchain makes the same bytes: no path, time or version control state goes in.
package main

import (
	"bytes"
	"compress/gzip"
	"flag"
	"log"
	"os"
	"os/exec"
	"path/filepath"
)

func main() {
	log.SetFlags(0)
	dir := flag.String("o", "bin", "directory to write to")
	flag.Parse()
	for _, arch := range []string{"amd64", "arm64"} {
		if err := build(*dir, arch); err != nil {
			log.Fatalf("building noid-init for %s: %v", arch, err)
		}
	}
}

func build(dir, arch string) error {
	tmp, err := os.MkdirTemp("", "noid-init")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	bin := filepath.Join(tmp, "noid-init")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", bin, "noid/cmd/noid-init")
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
	return os.WriteFile(filepath.Join(dir, "noid-init-"+arch+".gz"), packed.Bytes(), 0o644)
}
