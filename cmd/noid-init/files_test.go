//go:build linux

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestCommandLine(t *testing.T) {
	const cmdline = "console=ttyS0 init=/first quiet root=ro init=/bin/sh initrd=x\n"
	if got := valueOf(cmdline, "init"); got != "/bin/sh" {
		t.Errorf("init = %q, want the last", got)
	}
	if got := valueOf(cmdline, "none"); got != "" {
		t.Errorf("none = %q", got)
	}
	if hasWord(cmdline, "ro") || !hasWord("a ro\n", "ro") {
		t.Error("ro is a word of its own or nothing")
	}
}

func TestList(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"010-c.ko", "000-b.ko", "001-a.ko"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := list(dir), []string{"000-b.ko", "001-a.ko", "010-c.ko"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := list(filepath.Join(dir, "none")); got != nil {
		t.Errorf("no directory lists %q", got)
	}
}

func TestReadFileIsBounded(t *testing.T) {
	if got := len(readFile("/dev/zero")); got != maxFile {
		t.Errorf("read %d bytes, want %d", got, maxFile)
	}
}

func TestLinesWith(t *testing.T) {
	const log = "<6>[    0.1] virtio_blk virtio1: [vda]\n<3>[    0.2] EXT4-fs (vda): bad\r\n<4>[    0.3] EXT4-fs: worse"
	if got, want := linesWith(log, "EXT4-fs"), []string{"EXT4-fs (vda): bad", "EXT4-fs: worse"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := linesWith(strings.Repeat("EXT4-fs\n", 2*maxSaid), "EXT4-fs"); len(got) != maxSaid {
		t.Errorf("%d lines, want %d", len(got), maxSaid)
	}
}
