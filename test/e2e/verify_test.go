package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"noid/internal/checkpoint"
	"noid/internal/home"
	"noid/internal/manifest"
	"noid/internal/pack"
)

// TestDamage damages checkpoints in every way that docs/breaking.md tells: each is found and named, none is restored,
// and the VM runs on.
func TestDamage(t *testing.T) {
	n := setup(t)
	n.tiny("a")
	n.answers("a", "s one", "token one")
	n.answers("a", "d 8", "dirty 8")
	id := strings.TrimSpace(n.want(0, "checkpoint", "a", "--label", "one"))
	n.answers("a", "s two", "token two")
	n.answers("a", "d 16", "dirty 16")
	other := strings.TrimSpace(n.want(0, "checkpoint", "a", "--label", "two"))
	n.answers("a", "s live", "token live")
	dir := filepath.Join(n.home, "storage/checkpoints/a", id)
	n.want(0, "verify")
	n.want(0, "verify", "a", "--read-data")

	h, err := home.Open(n.home)
	check(t, err)
	c, err := h.LoadCheckpoint("a", id)
	check(t, errors.Join(err, h.Close()))
	path := func(name string) string { return filepath.Join(dir, name) }
	// flip damages a file, or a content that is in the pack.
	flip := func(name string, at int64, keepTime bool) func() {
		return func() {
			t.Helper()
			path, at := path(name), at
			if c.InPack(name) {
				at = placeOf(t, dir, name, at)
				path = filepath.Join(filepath.Dir(dir), pack.File)
			}
			info, err := os.Stat(path)
			check(t, err)
			check(t, os.Chmod(path, 0o600))
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			check(t, err)
			defer f.Close()
			b := make([]byte, 1)
			_, err = f.ReadAt(b, at)
			check(t, err)
			b[0] ^= 0x10
			_, err = f.WriteAt(b, at)
			check(t, err)
			if keepTime {
				check(t, os.Chtimes(path, info.ModTime(), info.ModTime()))
			}
		}
	}
	resize := func(name string, size int64) func() {
		return func() {
			t.Helper()
			check(t, os.Chmod(path(name), 0o600))
			check(t, os.Truncate(path(name), size))
		}
	}
	type damage struct {
		name   string
		damage func()
		says   string // in verify's words
		all    bool   // found by --read-data alone
	}
	damages := []damage{
		{"a bit that rots", flip("memory.snap", 20<<20, true), "memory.snap differs at 20 MiB", true}, // before any is copied back
		{"a bit of the memory", flip("memory.snap", 17<<20+5, false), "memory.snap differs at 17 MiB", false},
		{"a bit of the disk", flip("rootfs.ext4", 3<<20, false), "rootfs.ext4 differs at 3 MiB", false},
		{"a bit of the device state", flip("vmstate.snap", 1000, true), "vmstate.snap differs at 0 MiB", false},
		{"a bit of the console's log", flip("serial.log", 1, true), "serial.log differs", false},
		{"a bit of the manifest", flip("checkpoint.json", 40, false), "checkpoint.json", false},
		{"a truncated file", resize("memory.snap", 63<<20), "memory.snap has 66060288 bytes, not the 67108864", false},
		{"a file too long", resize("rootfs.ext4", 1<<30), "rootfs.ext4 has 1073741824 bytes", false},
		{"a missing file", func() { check(t, os.Remove(path("vmstate.snap"))) }, "vmstate.snap is missing", false},
		{"another one's memory", func() {
			check(t, os.Rename(filepath.Join(filepath.Dir(dir), other, "memory.snap"), path("memory.snap")))
		}, "memory.snap differs in", false},
		{"a link", func() {
			check(t, os.Remove(path("memory.snap")))
			check(t, os.Symlink("/etc/passwd", path("memory.snap")))
		}, "memory.snap is not a regular file", false},
		{"no manifest", func() { check(t, os.Remove(path("checkpoint.json"))) }, "it is missing", false},
	}
	if c.Packed {
		const table = "memory.snap.table"
		inPack := filepath.Join(filepath.Dir(dir), pack.File)
		damages = []damage{
			{"a bit that rots", flip("memory.snap", 20<<20, true), "memory.snap differs at 20 MiB", true},
			{"a bit of the disk", flip("rootfs.ext4", 1024, false), "rootfs.ext4 differs at 0 MiB", true},
			{"a bit of the device state", flip("vmstate.snap", 1000, true), "vmstate.snap differs at 0 MiB", false},
			{"a bit of the table", flip(table, 30, true), table + " differs", false},
			{"a truncated table", resize(table, 20), table + " has 20 bytes", false},
			{"no table", func() { check(t, os.Remove(path(table))) }, table + " is missing", false},
			{"another one's table", func() { check(t, os.Rename(filepath.Join(filepath.Dir(dir), other, table), path(table))) }, table, false},
			{"no pack", func() { check(t, os.Remove(inPack)) }, "opening the pack", false},
			{"a truncated pack", func() { check(t, os.Truncate(inPack, 1<<20)) }, "the pack lacks", false},
			{"a pack that is a link", func() { check(t, errors.Join(os.Remove(inPack), os.Symlink("/etc/passwd", inPack))) }, "opening the pack", false},
		}
	}
	for _, tt := range damages {
		t.Run(tt.name, func(t *testing.T) {
			n := n.in(t)
			saved := t.TempDir()
			n.keep(filepath.Dir(dir), saved)
			defer n.keep(saved, filepath.Dir(dir))
			tt.damage()
			args := []string{"verify", "a@" + id, "--json"}
			if tt.all {
				n.want(0, args...)
				args = append(args, "--read-data")
			}
			var list []struct {
				ID, Problem string
				Sound       bool
			}
			if err := json.Unmarshal([]byte(n.want(1, args...)), &list); err != nil || len(list) != 1 {
				t.Fatalf("%v: %+v", err, list)
			}
			if list[0].ID != id || list[0].Sound || !strings.Contains(list[0].Problem, tt.says) {
				t.Errorf("verify says %+v, not %q", list[0], tt.says)
			}
			if !tt.all { // else nothing but reading all of it could tell
				for _, args := range [][]string{{"restore", "a", id}, {"restore", "a", id, "--as", "b"}} {
					_, errs, code := n.run(args...)
					if code != 1 || !strings.Contains(errs, "damaged") {
						t.Errorf("noid %v exits %d: %s", args, code, errs)
					}
				}
			}
			n.answers("a", "g", "token live")
			if list := n.checkpoints("a"); len(list) != 2 {
				t.Errorf("there are %d checkpoints: a refused restore has kept the present", len(list))
			}
		})
	}
	n.want(0, "verify", "a", "--read-data")
	n.want(3, "verify", "a@deadbeef")
	n.want(3, "verify", "nosuch")
	n.want(2, "verify", "../a")

	// What is only looked up by the index is read all the same: this rot leaves no trace in the file's time.
	saved := t.TempDir()
	n.keep(filepath.Dir(dir), saved)
	n.want(0, "verify", "a")
	flip("checkpoint.json", 40, true)()
	for _, args := range [][]string{{"verify", "a"}, {"verify"}, {"verify", "a@" + id[:3]}, {"verify", "a@one"}, {"restore", "a", "one"}} {
		n.want(1, args...) // by its label too: the index has it
	}
	n.keep(saved, filepath.Dir(dir))
	// Damaged sums are named. Nothing is restored of them.
	flip("sums", 3, true)()
	if out := n.want(1, "verify", "a@"+id); !strings.Contains(out, "sums differs") {
		t.Errorf("of damaged sums verify says %s", out)
	}
	n.want(0, "restore", "a", id, "--no-backup")
	flip("memory.snap", 17<<20+5, false)() // found, if not placed
	if out := n.want(1, "verify", "a@"+id, "--read-data"); !strings.Contains(out, "memory.snap differs from") {
		t.Errorf("of damaged memory without sums verify says %s", out)
	}
	n.keep(saved, filepath.Dir(dir))

	// A copied home has other inodes: the data is read before it is trusted, and is.
	n.want(0, "restore", "a", id)
	n.answers("a", "g", "token one")

	// QEMU reads the kernel at a load; noid has its own, so the user's may go. Its own must not.
	kernels, err := filepath.Glob(filepath.Join(n.home, "kernels/kernel-*"))
	if err != nil || len(kernels) != 1 {
		t.Fatalf("the kernels kept are %q, %v", kernels, err)
	}
	check(t, os.Rename(kernels[0], kernels[0]+".gone"))
	want := 7
	if os.Getenv("NOID_TEST_DRIVER") == "firecracker" { // which loads without; noid warns
		want = 0
	}
	_, errs, code := n.run("restore", "a", id)
	if code != want || !strings.Contains(errs, kernels[0]) {
		t.Errorf("without its kernel: exit %d, %s", code, errs)
	}
	check(t, os.Rename(kernels[0]+".gone", kernels[0]))
	n.want(0, "restore", "a", id)
}

// TestNotHere tries checkpoints that cannot be loaded here: each is refused with what is needed, nothing is kept, the
// VM runs on, and no VMM is left.
func TestNotHere(t *testing.T) {
	if driver := os.Getenv("NOID_TEST_DRIVER"); driver != "" && driver != "qemu" {
		t.Skip("NOT RUN: it is about QEMU's hardware; TestForGuests, TestKVMUsable and TestOtherVersion are about Firecracker's")
	}
	n := setup(t)
	n.tiny("a")
	n.answers("a", "s one", "token one")
	id := strings.TrimSpace(n.want(0, "checkpoint", "a"))
	n.answers("a", "s live", "token live")
	dir := filepath.Join(n.home, "storage/checkpoints/a", id)
	saved := t.TempDir()
	n.keep(dir, saved)
	h, err := home.Open(n.home)
	check(t, err)
	here, err := h.LoadCheckpoint("a", id)
	check(t, err)
	for _, tt := range []struct {
		name   string
		change func(c *checkpoint.Record)
		says   string
	}{
		{"machine type", func(c *checkpoint.Record) { c.Machine.Hardware["machine"] = "pc-q35-99.0" }, "pc-q35-99.0"},
		{"accelerator", func(c *checkpoint.Record) { c.Machine.Hardware["accel"] = "xen" }, "xen"},
		{"devices", func(c *checkpoint.Record) { c.Machine.Hardware["layout"] = "99" }, "device layout"},
		{"state of another version", func(c *checkpoint.Record) {
			c.Machine.DriverVersion, c.Machine.CPUs = "99.0", 3 // it does not load, and that may be why
		}, "saved by qemu 99.0"},
		{"vendor", func(c *checkpoint.Record) { c.Host = &checkpoint.Host{CPUVendor: "Centaur", CPUModel: "C7"} }, "Centaur"},
		{"instructions", func(c *checkpoint.Record) {
			c.Host = &checkpoint.Host{CPUVendor: vendor(t), CPUFlags: []string{"sse9"}}
		}, "lacks sse9"},
		{"kernel", func(c *checkpoint.Record) { c.Boots = map[string]manifest.File{"/nonexistent/vmlinuz": {}} }, "/nonexistent/vmlinuz"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := n.in(t)
			c := here
			c.Machine.Hardware = maps.Clone(here.Machine.Hardware)
			tt.change(&c)
			check(t, checkpoint.Write(dir, c))
			defer n.keep(saved, dir)
			n.refused(id, tt.says)
		})
	}
	path := filepath.Join(dir, "checkpoint.json")
	data, err := os.ReadFile(path)
	check(t, err)
	check(t, os.Chmod(path, 0o600))
	check(t, os.WriteFile(path, bytes.Replace(data, []byte(fmt.Sprintf(`"format": %d`, here.Format)), []byte(`"format": 4`), 1), 0o400))
	n.refused(id, "newer noid")
	n.keep(saved, dir)
	binary := filepath.Join(t.TempDir(), "qemu")
	check(t, os.Symlink("/bin/true", binary))
	n.want(0, "config", "set", "qemu", binary)
	check(t, os.Remove(binary))
	n.refused(id, binary)
	n.want(0, "config", "unset", "qemu")
	n.want(0, "restore", "a", id)
	n.answers("a", "g", "token one")
}

// refused tries to restore checkpoint id of a, live, which this host cannot.
func (n noid) refused(id, says string) {
	n.t.Helper()
	for _, args := range [][]string{{"restore", "a", id}, {"restore", "a", id, "--as", "b"}} {
		_, errs, code := n.run(args...)
		if code != 7 || !strings.Contains(errs, says) || !strings.Contains(errs, "hint: ") {
			n.t.Errorf("noid %v exits %d: %s", args, code, errs)
		}
	}
	n.answers("a", "g", "token live")
	if list := n.checkpoints("a"); len(list) != 1 {
		n.t.Errorf("there are %d checkpoints: a refused restore has kept the present", len(list))
	}
	if left, err := filepath.Glob(filepath.Join(n.home, "storage/staging/*")); err != nil || len(left) > 0 {
		n.t.Errorf("left behind: %q, %v", left, err)
	}
}

// vendor is that of this machine's processor.
func vendor(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("/proc/cpuinfo")
	check(t, err)
	_, after, _ := strings.Cut(string(data), "vendor_id\t: ")
	line, _, _ := strings.Cut(after, "\n")
	return line
}

// placeOf is where in the pack the byte at of the content called name is.
func placeOf(t *testing.T, dir, name string, at int64) int64 {
	t.Helper()
	table, err := checkpoint.Table(dir, name)
	check(t, err)
	for _, e := range table.Extents {
		if at >= e.Off && at < e.Off+e.Len {
			return e.At + at - e.Off
		}
	}
	t.Fatalf("%s has nothing at %d", name, at)
	return 0
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// keep makes the directory to a copy of from, with times.
func (n noid) keep(from, to string) {
	n.t.Helper()
	var out bytes.Buffer
	cmd := exec.Command("sh", "-c", `rm -rf "$2" && cp -a "$1" "$2"`, "sh", from, to)
	cmd.Stderr = &out
	if err := cmd.Run(); err != nil {
		n.t.Fatalf("copying %s: %v: %s", from, err, out.String())
	}
}
