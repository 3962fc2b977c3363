package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/confine"
	"noid/internal/network"
	"noid/internal/network/control"
)

// triedFile is what a helper's attempts end in.
var triedFile = filepath.Join(network.HelperDir, "tried")

// allowed and forbidden are what a helper that a guest has taken over may try with the files of its VM.
var allowed = map[string]func() error{
	"reading the configuration": func() error { return opens(network.ConfigFile, unix.O_RDONLY) },
	"writing the log":           func() error { return opens("net/net.log", unix.O_WRONLY|unix.O_CREAT) },
	"replacing the names": func() error {
		return errors.Join(opens("net/new", unix.O_WRONLY|unix.O_CREAT), os.Rename("net/new", "net/net.names"), os.Remove("net/net.names"))
	},
}

var forbidden = map[string]func() error{
	"writing the configuration":    func() error { return opens(network.ConfigFile, unix.O_WRONLY) },
	"truncating the configuration": func() error { return os.Truncate(network.ConfigFile, 0) },
	"removing the configuration":   func() error { return os.Remove(network.ConfigFile) },
	"replacing the configuration": func() error {
		return errors.Join(opens("net/mine", unix.O_WRONLY|unix.O_CREAT), os.Rename("net/mine", network.ConfigFile))
	},
	"linking to its place":               func() error { return os.Link("net/net.log", "net.json.new") },
	"linking the configuration":          func() error { return os.Link(network.ConfigFile, "net/net.json") },
	"moving the configuration":           func() error { return os.Rename(network.ConfigFile, "net/net.json") },
	"writing the record":                 func() error { return opens("vm.json", unix.O_WRONLY) },
	"writing the disk":                   func() error { return opens("rootfs.ext4", unix.O_WRONLY) },
	"writing the lock":                   func() error { return opens("net.lock", unix.O_WRONLY) },
	"replacing the socket":               func() error { return os.Remove(network.ControlSocket) },
	"making a file beside the directory": func() error { return opens("mine", unix.O_WRONLY|unix.O_CREAT) },
	"moving the directory":               func() error { return os.Rename("net", "nets") },
	"leading out by a link":              func() error { return os.Symlink("../net.json", "net/net.log.new") },
	"leading out by a directory":         func() error { return os.Mkdir("net/d", 0o700) },
	"having a reader wait":               func() error { return unix.Mkfifo("net/f", 0o600) },
}

func opens(path string, flags int) error {
	fd, err := unix.Open(path, flags, 0o600)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// tryAll has this process, a helper, try all that when it is asked.
func tryAll() {
	ask := make(chan os.Signal, 1)
	signal.Notify(ask, unix.SIGUSR2)
	go func() {
		for range ask {
			said := map[string]string{}
			for _, attempts := range []map[string]func() error{allowed, forbidden} {
				for what, try := range attempts {
					said[what] = fmt.Sprint(try())
				}
			}
			data, _ := json.Marshal(said)
			os.WriteFile(triedFile+".new", data, 0o600)
			os.Rename(triedFile+".new", triedFile)
		}
	}()
}

// TestConfined has a helper write in its own directory and nowhere else in its VM's: not its configuration, by which it
// would name sockets of this host's and secrets.
func TestConfined(t *testing.T) {
	if abi, err := confine.LandlockABI(); abi < 3 {
		t.Skipf("NOT RUN: Landlock's ABI is %d, not 3 or later (%v)", abi, err)
	}
	dir := t.TempDir()
	for _, name := range []string{"vm.json", "rootfs.ext4"} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte("noid's"), 0o600))
	}
	c := network.Config{Mode: network.Default, Sockets: []network.Socket{{Host: "/of/the/user", Guest: "/s", Out: true}}}
	w := newWorldIn(t, dir, c)
	before := w.contents()
	must(t, w.helper.Process.Signal(unix.SIGUSR2))
	said := map[string]string{}
	for json.Unmarshal(w.read(triedFile), &said) != nil { // until it is there, whole
		w.ask(control.Request{Op: control.Status})
	}
	for what := range allowed {
		if said[what] != "<nil>" {
			t.Errorf("%s: %s", what, said[what])
		}
	}
	for what := range forbidden {
		if said[what] == "<nil>" || said[what] == "" {
			t.Errorf("%s: %q", what, said[what])
		}
	}
	if after := w.contents(); after != before {
		t.Errorf("the vm's directory was\n%s\nand is\n%s", before, after)
	}
	w.ask(control.Request{Op: control.Reload})
}

func (w *world) read(name string) []byte {
	data, _ := os.ReadFile(filepath.Join(w.dir, name))
	return data
}

// contents are the names in the VM's directory, and what is in those files that noid alone writes.
func (w *world) contents() (all string) {
	entries, err := os.ReadDir(w.dir)
	must(w.t, err)
	for _, e := range entries {
		all += fmt.Sprintf("%s %v %q\n", e.Name(), e.Type(), w.read(e.Name()))
	}
	return all
}

// TestEarlierNoid has a helper find what one of an earlier noid has left, in the VM's directory itself.
func TestEarlierNoid(t *testing.T) {
	dir, line := t.TempDir(), "{\"event\":\"of before\"}\n"
	must(t, os.WriteFile(filepath.Join(dir, network.LogFile), []byte(line), 0o600))
	must(t, network.SaveNames(dir, []network.Name{{Name: "a.example", Until: time.Now().Add(time.Hour), Addrs: []netip.Addr{netip.MustParseAddr(server)}}}))
	l, err := listen(server + ":0")
	to := echo(t, l, err)
	w := newWorldIn(t, dir, network.Config{Mode: network.Open, Allow: []string{"a.example"}})
	c, err := w.dial("tcp", to)
	must(t, err)
	must(t, says(c, "hello"))
	if log := string(w.read(filepath.Join(network.HelperDir, network.LogFile))); log != line {
		t.Errorf("the log has %q", log)
	}
	for _, name := range []string{network.LogFile, network.NamesFile} {
		if w.read(name) != nil {
			t.Errorf("%s is left", name)
		}
	}
}
