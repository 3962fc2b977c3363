package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// canary is what lies outside of the home and must not be touched.
type canary struct {
	n        noid
	dir      string
	secret   string
	accessed syscall.Timespec
}

func (n noid) canary() *canary {
	n.t.Helper()
	c := &canary{n: n, dir: n.t.TempDir(), secret: "canary-5f1d-sings"}
	if err := errors.Join(os.WriteFile(c.path("file"), []byte(strings.Repeat(c.secret+"\n", 100)), 0o600), syscall.Mkfifo(c.path("fifo"), 0o600),
		os.Mkdir(c.path("dir"), 0o700), os.WriteFile(c.path("dir/file"), []byte(c.secret), 0o600)); err != nil {
		n.t.Fatal(err)
	}
	return c
}

func (c *canary) path(name string) string { return filepath.Join(c.dir, name) }

// set gives all canaries times long ago: under relatime, a reading shows in the access time then.
func (c *canary) set() {
	c.n.t.Helper()
	old := time.Now().Add(-72 * time.Hour)
	for _, name := range []string{"file", "dir/file", "dir", "."} {
		if err := os.Chtimes(c.path(name), old, old); err != nil {
			c.n.t.Fatal(err)
		}
	}
	c.accessed = c.stat("file").Atim
}

func (c *canary) stat(name string) (st syscall.Stat_t) {
	c.n.t.Helper()
	if err := syscall.Lstat(c.path(name), &st); err != nil {
		c.n.t.Errorf("%s: %v", name, err)
	}
	return st
}

// check reports what args have done to the canaries, and sets them again.
func (c *canary) check(what string, args []string, o outcome) {
	c.n.t.Helper()
	for _, name := range []string{"file", "dir/file", "dir", "."} {
		st := c.stat(name)
		if st.Mtim != c.accessed {
			c.n.t.Errorf("%s: noid %q writes to %s outside of the home", what, args, name)
		}
		if st.Atim != c.accessed && strings.HasSuffix(name, "file") {
			c.n.t.Errorf("%s: noid %q reads %s outside of the home", what, args, name)
		}
	}
	if data, err := os.ReadFile(c.path("file")); err != nil || string(data) != strings.Repeat(c.secret+"\n", 100) {
		c.n.t.Errorf("%s: noid %q changes a file outside of the home: %v", what, args, err)
	}
	if _, err := os.Lstat(c.path("absent")); err == nil {
		c.n.t.Errorf("%s: noid %q makes a file outside of the home", what, args)
		os.Remove(c.path("absent"))
	}
	if strings.Contains(o.out+o.errs, c.secret) {
		c.n.t.Errorf("%s: noid %q prints a file from outside of the home", what, args)
	}
	c.set()
}

// kinds are what a VMM that its guest took over can put in a file's place.
func (c *canary) kinds() map[string]func(path string) error {
	return map[string]func(path string) error{
		"link to a file":      func(path string) error { return os.Symlink(c.path("file"), path) },
		"link to a FIFO":      func(path string) error { return os.Symlink(c.path("fifo"), path) },
		"link to a directory": func(path string) error { return os.Symlink(c.path("dir"), path) },
		"link to nothing":     func(path string) error { return os.Symlink(c.path("absent"), path) },
		"FIFO":                func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"directory": func(path string) error { // that its owner, unless that is root, cannot empty
			in := filepath.Join(path, "in")
			return errors.Join(os.MkdirAll(filepath.Join(in, "it"), 0o700), os.Chmod(in, 0o500), os.Chmod(path, 0o500))
		},
		"huge file": func(path string) error {
			return errors.Join(os.WriteFile(path, []byte("{"), 0o600), os.Truncate(path, 1<<40))
		},
		"socket": func(path string) error { // that accepts and says nothing
			dir, err := os.Open(filepath.Dir(path)) // a socket's path is short
			if err != nil {
				return err
			}
			l, err := net.Listen("unix", filepath.Join("/proc/self/fd", strconv.Itoa(int(dir.Fd())), filepath.Base(path)))
			if err == nil {
				l.(*net.UnixListener).SetUnlinkOnClose(false)
				c.n.t.Cleanup(func() { l.Close(); dir.Close() })
			}
			return err
		},
	}
}

// places are the files that are replaced together: a damaged record hides what the others do.
var places = map[string][]string{
	"record":  {"vm.json"},
	"files":   {"rootfs.ext4", "serial.log", "qemu.log", "qmp.in", "qmp.out", "memory", "vmstate.last", "memory.snap", "vmstate.snap", "exec.lock", "input.lock"},
	"sockets": {"qemu.sock", "port.sock", "agent.sock", "helper.lock", "serial.in"},
}

// hostileDirectory is a VMM that its guest took over: it writes in the VM's directory as it likes.
func hostileDirectory(n noid) {
	c := n.canary()
	c.set()
	for kind, put := range c.kinds() {
		for place, files := range places {
			what := place + " as " + kind
			n.want(0, "restore", "a", "good", "--as", "bad")
			pid := n.pid("bad")
			dir := filepath.Join(n.home, "storage/vms/bad")
			for _, f := range files {
				aside := filepath.Join(dir, ".aside")
				if err := put(aside); err != nil {
					n.t.Fatal(err)
				}
				if err := os.Rename(aside, filepath.Join(dir, f)); err != nil { // as a directory over a file
					if err := errors.Join(os.RemoveAll(filepath.Join(dir, f)), os.Rename(aside, filepath.Join(dir, f))); err != nil {
						n.t.Fatal(err)
					}
				}
			}
			for _, args := range [][]string{
				{"list"}, {"inspect", "bad"}, {"logs", "bad"}, {"logs", "--vmm", "bad"}, {"exec", "--wait-timeout", "1s", "--timeout", "1s", "bad", "true"},
				{"exec", "--serial", "--wait-timeout", "1s", "--timeout", "1s", "bad", "true"}, {"checkpoint", "bad", "--label", "c"}, {"checkpoints", "bad"}, {"verify", "bad"}, {"verify", "--read-data", "bad@c"},
				{"pause", "bad"}, {"resume", "bad"}, {"stop", "--force", "bad"}, {"logs", "bad"}, {"start", "bad"}, {"logs", "bad"},
				{"exec", "--wait-timeout", "1s", "--timeout", "1s", "bad", "true"}, {"restore", "bad", "c"}, {"doctor"}, {"destroy", "--checkpoints", "bad"},
			} {
				if what == "sockets as socket" && (args[0] == "pause" || args[0] == "resume" || args[0] == "restore") {
					continue // half a minute each, as the checkpoint that shows it
				}
				o := n.try(args...)
				c.check(what, args, o)
				switch {
				case args[0] == "list" && o.code != 0, args[0] == "destroy" && o.code != 0:
					n.t.Errorf("%s: noid %q: exit %d: %s", what, args, o.code, o.errs)
				case o.code != 0 && o.code != 124 && o.errs == "":
					n.t.Errorf("%s: noid %q: exit %d without a word", what, args, o.code)
				}
			}
			if left, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(left) != 1 {
				n.t.Errorf("%s: destroy leaves %v, %v", what, left, err)
			}
			if err := syscall.Kill(pid, 0); err == nil && lives(pid, "qemu") {
				n.t.Errorf("%s: destroy leaves its VMM, process %d", what, pid)
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
}

func (n noid) pid(name string) int {
	n.t.Helper()
	var vm struct{ PID int }
	if err := json.Unmarshal([]byte(n.want(0, "inspect", name)), &vm); err != nil || vm.PID == 0 {
		n.t.Fatalf("the pid of %s: %d, %v", name, vm.PID, err)
	}
	return vm.PID
}

// lives reports whether pid is a live process whose name holds word.
func lives(pid int, word string) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return err == nil && bytes.Contains(stat, []byte(word)) && !bytes.Contains(stat, []byte(") Z"))
}
