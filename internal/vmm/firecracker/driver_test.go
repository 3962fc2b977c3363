package firecracker

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/proc"
	"noid/internal/vmm"
)

// newDir makes a VM's directory with a path longer than a unix socket's address can be.
func newDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), strings.Repeat("long-", 24))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, vmm.SerialInFile), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, size := range map[string]int64{vmm.RootfsFile: 4096, vmm.MemorySnap: 64 << 20, vmm.StateSnap: 100} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(filepath.Join(dir, name), size); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func machine() *vmm.Machine {
	return &vmm.Machine{Driver: "firecracker", CPUs: 2, MemMiB: 64, KernelPath: "/k/vmlinux", InitrdPath: "/k/initrd", BootArgs: "more=1"}
}

// kill ends a process of a test when the test ends.
func kill(t *testing.T, p proc.Process) {
	t.Cleanup(func() {
		if err := p.Kill(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// requests returns what a double in dir was asked, without bodies.
func requests(t *testing.T, dir string) (names []string, bodies map[string]map[string]any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, requestsFile))
	if err != nil {
		t.Fatal(err)
	}
	bodies = map[string]map[string]any{}
	for line := range strings.Lines(string(data)) {
		parts := strings.SplitN(strings.TrimSpace(line), " ", 3)
		names = append(names, parts[0]+" "+parts[1])
		if len(parts) == 3 {
			var body map[string]any
			if err := json.Unmarshal([]byte(parts[2]), &body); err != nil {
				t.Fatal(err)
			}
			bodies[parts[1]] = body
		}
	}
	return names, bodies
}

func TestStartRequests(t *testing.T) {
	boot := []string{"PUT /machine-config", "PUT /boot-source", "PUT /drives/rootfs", "PUT /vsock", "PUT /entropy", "PUT /actions"}
	reporting := slices.Insert(slices.Clone(boot), 3, "PUT /balloon")
	for _, test := range []struct {
		version string
		refuse  string
		want    []string
	}{
		{"1.12.0", "", append([]string{"GET /version"}, boot...)},
		{"1.13.1", "", append([]string{"GET /version"}, boot...)},
		{"1.14.0", "", append([]string{"GET /version"}, reporting...)},
		{"1.15.3", "", append([]string{"GET /version"}, reporting...)},
		{"1.16.1", "", append([]string{"GET /version", "PUT /serial"}, reporting...)},
		{"1.16.1-without", "/balloon", append([]string{"GET /version", "PUT /serial"}, reporting...)},
		{"2.0.0-dev", "", append([]string{"GET /version", "PUT /serial"}, reporting...)},
	} {
		t.Run(test.version, func(t *testing.T) {
			dir, m := newDir(t), machine()
			// What a run before left must not be in the way.
			for _, name := range []string{SocketFile, VsockFile} {
				if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			d := New(fakeBinary(t, script{Version: test.version, Refuse: test.refuse, Fault: "not here"}))
			p, err := d.Start(t.Context(), dir, m)
			if err != nil {
				t.Fatal(err)
			}
			kill(t, p)
			names, bodies := requests(t, dir)
			if diff := cmp.Diff(test.want, names); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
			if m.DriverVersion != test.version {
				t.Errorf("DriverVersion %q", m.DriverVersion)
			}
			for path, want := range map[string]map[string]any{
				"/machine-config": {"vcpu_count": 2.0, "mem_size_mib": 64.0, "smt": false, "track_dirty_pages": true},
				"/boot-source":    {"kernel_image_path": "/k/vmlinux", "initrd_path": "/k/initrd", "boot_args": bootArgs + " more=1"},
				"/drives/rootfs":  {"drive_id": "rootfs", "path_on_host": "rootfs.ext4", "is_root_device": false, "is_read_only": false, "cache_type": "Writeback"},
				"/vsock":          {"guest_cid": 3.0, "uds_path": "v.sock"},
			} {
				if diff := cmp.Diff(want, bodies[path]); diff != "" {
					t.Errorf("%s (-want +got):\n%s", path, diff)
				}
			}
			want := map[string]any{"amount_mib": 0.0, "deflate_on_oom": false, "free_page_reporting": true}
			if got, ok := bodies["/balloon"]; ok && !cmp.Equal(want, got) {
				t.Errorf("/balloon (-want +got):\n%s", cmp.Diff(want, got))
			}
			if _, ok := bodies["/serial"]["serial_out_path"]; ok {
				t.Error("serial_out_path is set: the console's input would be off")
			}
			if state, err := d.State(t.Context(), dir); err != nil || state != vmm.Running {
				t.Errorf("State: %q, %v", state, err)
			}
		})
	}
}

// TestNetRequest has the guest's device end at the tap of every VM, by its name alone.
func TestNetRequest(t *testing.T) {
	m := machine()
	device := func() (found []any) {
		for _, r := range bootRequests(m, version{major: 1, minor: 16}) {
			if r.path == "/network-interfaces/eth0" {
				found = append(found, r.body)
			}
		}
		return found
	}
	if found := device(); found != nil {
		t.Errorf("without a network: %v", found)
	}
	m.Net = true
	want := []any{networkInterface{IfaceID: "eth0", HostDevName: "tap0", GuestMAC: "02:6e:6f:69:64:02"}}
	if diff := cmp.Diff(want, device()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestLoadRequests(t *testing.T) {
	backend := map[string]any{"backend_type": "File", "backend_path": "memory.snap"}
	for _, test := range []struct {
		name   string
		script script
		names  []string // of the last process
		want   map[string]any
	}{
		{"1.12", script{Version: "1.12.0"}, []string{"GET /version", "PUT /snapshot/load"},
			map[string]any{"snapshot_path": "vmstate.snap", "mem_backend": backend, "enable_diff_snapshots": true, "resume_vm": false}},
		{"1.15", script{Version: "1.15.0"}, []string{"GET /version", "PUT /snapshot/load"},
			map[string]any{"snapshot_path": "vmstate.snap", "mem_backend": backend, "track_dirty_pages": true, "resume_vm": false}},
		{"1.16", script{Version: "1.16.1"}, []string{"GET /version", "PUT /serial", "PUT /snapshot/load"},
			map[string]any{"snapshot_path": "vmstate.snap", "mem_backend": backend, "track_dirty_pages": true, "resume_vm": false, "clock_realtime": true}},
		{"1.16 without a clock", script{Version: "1.16.1", RefuseClock: true},
			[]string{"GET /version", "PUT /serial", "PUT /snapshot/load", "GET /version", "PUT /serial", "PUT /snapshot/load"},
			map[string]any{"snapshot_path": "vmstate.snap", "mem_backend": backend, "track_dirty_pages": true, "resume_vm": false}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir, d := newDir(t), New(fakeBinary(t, test.script))
			p, err := d.Load(t.Context(), dir, machine(), vmm.Saved{})
			if err != nil {
				t.Fatal(err)
			}
			kill(t, p)
			names, bodies := requests(t, dir)
			if diff := cmp.Diff(test.names, names); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.want, bodies["/snapshot/load"]); diff != "" {
				t.Errorf("load (-want +got):\n%s", diff)
			}
			if state, err := d.State(t.Context(), dir); err != nil || state != vmm.Paused {
				t.Errorf("State: %q, %v", state, err)
			}
		})
	}
}

func TestTellAndSnapshot(t *testing.T) {
	dir, d := newDir(t), New(fakeBinary(t, script{Version: "1.16.1"}))
	p, err := d.Start(t.Context(), dir, machine())
	if err != nil {
		t.Fatal(err)
	}
	kill(t, p)
	dst := t.TempDir()
	if err := d.Snapshot(t.Context(), dir, dst, true); err == nil || !strings.Contains(err.Error(), "not paused") {
		t.Errorf("Snapshot of a running guest: %v", err)
	}
	for _, step := range []struct {
		c    vmm.Command
		want vmm.State
	}{{vmm.Pause, vmm.Paused}, {vmm.Pause, vmm.Paused}, {vmm.Resume, vmm.Running}, {vmm.Shutdown, vmm.Running}, {vmm.Pause, vmm.Paused}} {
		if err := d.Tell(t.Context(), dir, step.c); err != nil {
			t.Errorf("Tell(%d): %v", step.c, err)
		}
		if state, err := d.State(t.Context(), dir); err != nil || state != step.want {
			t.Errorf("State after %d: %q, %v; want %q", step.c, state, err, step.want)
		}
	}
	if err := d.Snapshot(t.Context(), dir, dst, true); err != nil {
		t.Fatal(err)
	}
	if err := d.Snapshot(t.Context(), dir, dst, true); !errors.Is(err, errs.ErrExists) {
		t.Errorf("Snapshot over another: %v", err)
	}
	if _, bodies := requests(t, dir); bodies["/snapshot/create"]["snapshot_type"] != "Full" {
		t.Errorf("snapshot: %v", bodies["/snapshot/create"])
	}
}

func TestStartFails(t *testing.T) {
	for _, test := range []struct {
		name   string
		script script
		want   string // in the message
		kind   error
	}{
		{"exits", script{Version: "1.16.1", Listen: "exit"}, "was told to end", vmm.ErrEnded},
		{"no socket", script{Version: "1.16.1", Listen: "no"}, "timed out waiting for the API socket", errs.ErrTimeout},
		{"no answer", script{Version: "1.16.1", Listen: "mute"}, "timed out waiting for the API socket", errs.ErrTimeout},
		{"too old", script{Version: "1.11.0"}, "cannot start firecracker", errs.ErrHost},
		{"no version", script{Version: "latest"}, `"latest"`, nil},
		{"dies", script{Version: "1.16.1", Refuse: "/actions", Fault: "die"}, "told to die", vmm.ErrEnded},
		{"kernel", script{Version: "1.16.1", Refuse: "/actions", Fault: "Invalid Elf \x1b[31m\nmagic"}, `kernel "/k/vmlinux"`, nil},
		{"kvm", script{Version: "1.16.1", Refuse: "/machine-config", Fault: "Error creating KVM object"}, "KVM", errs.ErrHost},
		{"disk", script{Version: "1.16.1", Refuse: "/drives/rootfs", Fault: "No such file"}, "PUT /drives/rootfs: firecracker says: No such file", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, dir := t.Context(), newDir(t)
			if errors.Is(test.kind, errs.ErrTimeout) { // the driver's own limit is a minute; this is its cause, sooner
				var cancel context.CancelFunc
				ctx, cancel = bounded(ctx, 300*time.Millisecond)
				defer cancel()
			}
			p, err := New(fakeBinary(t, test.script)).Start(ctx, dir, machine())
			if err == nil {
				kill(t, p)
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), test.want) || test.kind != nil && !errors.Is(err, test.kind) {
				t.Errorf("%v; want %q, kind %v", err, test.want, test.kind)
			}
			if strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("not printable: %q", err)
			}
			if test.kind == errs.ErrHost && errs.Hint(err) == "" {
				t.Errorf("no hint: %v", err)
			}
			wantNobody(t, dir)
		})
	}
}

func TestLoadFails(t *testing.T) {
	dir := newDir(t)
	d := New(fakeBinary(t, script{Version: "1.16.1", Refuse: "/snapshot/load", Fault: "bitcode error"}))
	if _, err := d.Load(t.Context(), dir, machine(), vmm.Saved{}); err == nil || !strings.Contains(err.Error(), "bitcode error") {
		t.Errorf("Load of a refused snapshot: %v", err)
	}
	if names, _ := requests(t, dir); len(names) != 3 {
		t.Errorf("a refusal that is not the clock's was retried: %v", names)
	}
	wantNobody(t, dir)
	m := machine()
	m.MemMiB *= 2
	if _, err := d.Load(t.Context(), dir, m, vmm.Saved{}); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("Load of another machine's memory: %v", err)
	}
}

// wantNobody checks that no process has dir as its working directory.
func wantNobody(t *testing.T, dir string) {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if cwd, err := os.Readlink(link); err == nil && cwd == dir {
			t.Errorf("a process is left: %s", link)
		}
	}
}

func TestVersion(t *testing.T) {
	for _, test := range []struct {
		version string
		ok      bool
	}{{"1.16.1", true}, {"1.12.0", true}, {"1.17.0-dev", true}, {"1.11.9", false}, {"0.25.2", false}, {"unknown", false}} {
		got, err := New(fakeBinary(t, script{Version: test.version})).Version(t.Context())
		if (err == nil) != test.ok || err == nil && got != test.version {
			t.Errorf("Version of %s: %q, %v", test.version, got, err)
		}
		if err != nil && (!errors.Is(err, errs.ErrHost) || errs.Hint(err) == "") {
			t.Errorf("Version of %s: %v, without kind or hint", test.version, err)
		}
	}
	_, err := New("/nonexistent/firecracker").Version(t.Context())
	if !errors.Is(err, errs.ErrHost) || !strings.Contains(err.Error(), "cannot start firecracker") || errs.Hint(err) == "" {
		t.Errorf("Version without a binary: %v", err)
	}
}

func TestKVMUsable(t *testing.T) {
	for _, path := range []string{"/dev/null", filepath.Join(t.TempDir(), "missing"), t.TempDir()} {
		if err := kvmUsable(path); err == nil {
			t.Errorf("%s is taken for KVM", path)
		}
	}
}
