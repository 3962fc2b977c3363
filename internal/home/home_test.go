package home

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"noid/internal/checkpoint"
	"noid/internal/errs"
	"noid/internal/manifest"
	"noid/internal/proc"
	"noid/internal/vmm"
)

// openHome makes a home whose path needs quoting in SQLite's URIs and in glob patterns.
func openHome(t testing.TB) *Home {
	t.Helper()
	h, err := Open(filepath.Join(t.TempDir(), "a home?#%41[x]"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func mode(t *testing.T, path string) os.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

func TestOpen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "x", "home")
	for range 2 {
		h, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range []string{h.Dir(), h.VMsDir(), h.KernelsDir(), h.ImagesDir(), h.LocksDir()} {
			if got := mode(t, d); got != 0o700 {
				t.Errorf("%s has mode %v", d, got)
			}
		}
		if data, err := os.ReadFile(filepath.Join(dir, "version")); err != nil || string(data) != "1\n" {
			t.Errorf("version %q, %v", data, err)
		}
		if err := os.Chmod(dir, 0o755); err != nil { // to be tightened by the next Open
			t.Fatal(err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, c := range []struct {
		name  string
		setup func(dir string) error
		says  string
	}{
		{"newer", func(dir string) error { return os.WriteFile(filepath.Join(dir, "version"), []byte("2\n"), 0o600) }, "a newer noid made it"},
		{"damaged", func(dir string) error { return os.WriteFile(filepath.Join(dir, "version"), []byte("x"), 0o600) }, "damaged"},
		{"version is a link", func(dir string) error { return os.Symlink("/etc/hostname", filepath.Join(dir, "version")) }, "symbolic link"},
		{"other files", func(dir string) error { return os.WriteFile(filepath.Join(dir, "thesis.txt"), nil, 0o600) }, "thesis.txt"},
		{"shared", func(dir string) error { return os.Chmod(dir, 0o777|os.ModeSticky) }, "shared"},
		{"a file", func(dir string) error { return errors.Join(os.Remove(dir), os.WriteFile(dir, nil, 0o600)) }, "not a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "home")
			if err := errors.Join(os.Mkdir(dir, 0o755), c.setup(dir)); err != nil {
				t.Fatal(err)
			}
			before := mode(t, dir)
			_, err := Open(dir)
			if !errors.Is(err, errs.ErrHost) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), dir) || errs.Hint(err) == "" {
				t.Errorf("error %v, hint %q", err, errs.Hint(err))
			}
			if got := mode(t, dir); got != before {
				t.Errorf("its mode was changed to %v", got)
			}
		})
	}
	dir := t.TempDir() // what an interrupted Open and a user's own config.toml leave is no obstacle
	for _, name := range []string{"config.toml", "storage", "lost+found", ".tmp-123"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(dir); err != nil {
		t.Error(err)
	}
}

func TestDefaultDir(t *testing.T) {
	t.Chdir(t.TempDir())
	cwd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOME", "/home/u")
	for env, want := range map[string]string{"": "/home/u/.noid", "/x/y/": "/x/y", "rel": filepath.Join(cwd, "rel")} {
		t.Setenv("NOID_HOME", env)
		if got, err := DefaultDir(); err != nil || got != want {
			t.Errorf("with NOID_HOME=%q: %q, %v", env, got, err)
		}
	}
}

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{"a": true, "dev-1.x_Y": true, "9": true, strings.Repeat("a", 63): true, "a..b": true,
		"": false, ".": false, "..": false, ".new-x": false, "-a": false, "_a": false, "a/b": false, "a b": false, "a\n": false, "ä": false,
		"a\x00": false, "a@b": false, strings.Repeat("a", 64): false, strings.Repeat("a", 1<<16): false} {
		err := CheckName(name)
		if (err == nil) != ok || err != nil && (!errors.Is(err, errs.ErrUsage) || errs.Hint(err) != nameRule || len(err.Error()) > 200) {
			t.Errorf("CheckName(%.70q) = %v", name, err)
		}
	}
	for _, c := range []struct {
		in, vm, ref string
		ok          bool
	}{{"dev@abc", "dev", "abc", true}, {"dev", "dev", "", true}, {"dev@a@b", "dev", "a@b", true}, {"dev@", "", "", false}, {"@abc", "", "", false}, {"../x@abc", "", "", false}} {
		vm, ref, err := ParseRef(c.in)
		if vm != c.vm || ref != c.ref || (err == nil) != c.ok || err != nil && !errors.Is(err, errs.ErrUsage) {
			t.Errorf("ParseRef(%q) = %q, %q, %v", c.in, vm, ref, err)
		}
	}
	calls := 0
	id := NewID(func(string) bool { calls++; return calls < 3 })
	if !checkID(id) || calls != 3 || id == NewID(nil) {
		t.Errorf("NewID = %q after %d calls", id, calls)
	}
	h := openHome(t)
	for _, name := range []string{"a", "a-b", "a-00000000", "x.y-"} {
		for _, dir := range []string{h.StagingDir(name), h.OldDir(name)} {
			if got, ok := stagedVM(filepath.Base(dir)); !ok || got != name || filepath.Dir(dir) != h.StagingRoot() {
				t.Errorf("%s belongs to %q, %v", dir, got, ok)
			}
		}
	}
	for _, base := range []string{"a-00000000", ".new-", ".new-x", ".new--1", ".tmp-123"} {
		if got, ok := stagedVM(base); ok {
			t.Errorf("%q belongs to %q", base, got)
		}
	}
}

// testVM is a VM with every field set.
func testVM(name string, created time.Time) VM {
	return VM{Format: manifest.Format, Name: name, CreatedAt: created.UTC(), StopRequested: true, SourceKernel: "/k", SourceRootfs: "/r",
		RestoredFrom: "x@00000000", LastError: "a\x1b[31m\nb", Process: proc.Process{PID: 1 << 30, StartTicks: 7, BootID: "b"},
		Machine: vmm.Machine{Driver: "fake", DriverVersion: "7.2", CPUs: 2, MemMiB: 512, KernelPath: "/k", Hardware: map[string]string{"cpu": "max"}}}
}

// addVM publishes v in the home.
func addVM(t testing.TB, h *Home, v VM) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(h.VMDir(v.Name), 0o700), h.SaveVM(h.VMDir(v.Name), v)); err != nil {
		t.Fatal(err)
	}
}

func addCheckpoint(t testing.TB, h *Home, c checkpoint.Record) {
	t.Helper()
	dir := h.CheckpointDir(c.VM, c.ID)
	if err := errors.Join(os.MkdirAll(dir, 0o700), checkpoint.Write(dir, c)); err != nil {
		t.Fatal(err)
	}
}

func TestRecords(t *testing.T) {
	h := openHome(t)
	created := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.FixedZone("", 3600))
	vm := testVM("dev", created)
	addVM(t, h, vm)
	got, err := h.LoadVM("dev")
	if diff := cmp.Diff(vm, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	c := checkpoint.Record{Format: manifest.Format, ID: "0123abcd", VM: "dev", Label: "fresh", CreatedAt: created.UTC(), Parent: "dev@00000000", Machine: vm.Machine,
		Memory: true, NoidVersion: "1", DowntimeMs: 12.5, DiskBytes: 1, MemoryBytes: 2, StateBytes: 3, DiskLength: 4, MemoryLength: 5, StateLength: 6}
	addCheckpoint(t, h, c)
	gotC, err := h.LoadCheckpoint("dev", "0123abcd")
	if diff := cmp.Diff(c, gotC); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	if _, err := h.LoadVM("none"); !errors.Is(err, errs.ErrNotFound) || err.Error() != `no vm "none"` {
		t.Errorf("LoadVM of nothing: %v", err)
	}
	for _, id := range []string{"ffffffff", "abc", "../../..", ""} {
		if _, err := h.LoadCheckpoint("dev", id); !errors.Is(err, errs.ErrNotFound) {
			t.Errorf("LoadCheckpoint(%q): %v", id, err)
		}
	}
	if _, err := h.LoadVM("../vms/dev"); !errors.Is(err, errs.ErrUsage) {
		t.Errorf("LoadVM of a path: %v", err)
	}
	if err := h.SaveVM(h.VMDir("dev"), VM{Name: "dev", LastError: strings.Repeat("x", 1<<20)}); err == nil {
		t.Error("a record was written that is too long to be read")
	}
}

// damages are ways in which a manifest can be unusable; each makes the file at path.
var damages = map[string]func(path string) error{
	"missing":   func(path string) error { return nil },
	"empty":     func(path string) error { return os.WriteFile(path, nil, 0o600) },
	"not JSON":  func(path string) error { return os.WriteFile(path, []byte("{\"format\": 1,"), 0o600) },
	"no format": func(path string) error { return os.WriteFile(path, []byte("{}"), 0o600) },
	"newer":     func(path string) error { return os.WriteFile(path, []byte(`{"format": 3, "name": "dev"}`), 0o600) },
	"no name":   func(path string) error { return os.WriteFile(path, []byte(`{"format": 1, "name": "../dev"}`), 0o600) },
	"endless":   func(path string) error { return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 1<<40)) },
	"too long": func(path string) error {
		return os.WriteFile(path, []byte(`{"format": 1, "name": "dev"}`+strings.Repeat(" ", 1<<20)), 0o600)
	},
	"link":      func(path string) error { return os.Symlink("/dev/zero", path) },
	"FIFO":      func(path string) error { return unix.Mkfifo(path, 0o600) },
	"directory": func(path string) error { return os.Mkdir(path, 0o700) },
}

func TestDamagedRecords(t *testing.T) {
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			h := openHome(t)
			dir := h.VMDir("dev")
			if err := errors.Join(os.Mkdir(dir, 0o700), damage(filepath.Join(dir, "vm.json"))); err != nil {
				t.Fatal(err)
			}
			_, err := h.LoadVM("dev")
			if broken, ok := errors.AsType[*manifest.BrokenError](err); !ok || broken.Path != filepath.Join(dir, "vm.json") || errors.Is(err, errs.ErrNotFound) {
				t.Errorf("LoadVM: %v", err)
			}
			list, err := h.ListVMs(t.Context())
			if err != nil || len(list) != 1 || list[0].Name != "dev" {
				t.Fatalf("ListVMs = %v, %v", list, err)
			}
			if _, ok := errors.AsType[*manifest.BrokenError](list[0].Err); !ok {
				t.Errorf("listed with the error %v", list[0].Err)
			}
		})
	}
}
