package torture

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"noid/internal/checkpoint"
	"noid/internal/image/imagetest"
	"noid/internal/pack"
	"noid/internal/storage"
	"noid/internal/vmm/conformance/tinyguest"
)

// home is a noid home with one driver's VMs, in which one command at a time is tortured. Between two faults it holds
// the running VM src, whose token is live, with the checkpoints one and two, whose tokens are their labels.
type home struct {
	t              *testing.T
	bin, faultBin  string
	driver         string
	kernel, rootfs string
	image, archive string            // an image at a registry, a root file system in a tar archive
	bases          map[string][]byte // what was built of images first, by digest: the sum
	dir            string            // NOID_HOME
	mounted        bool              // on a file system of its own, which may be filled
	scratch        string            // beside it, for traces
	files          map[string]bool
}

const (
	live = "live"
	// patience bounds one noid command and every wait for what must come: a busy machine is slow.
	patience = time.Minute
	// tokenAt is where in the disk, which the tiny guest does not use, its token is repeated.
	tokenAt = 4 << 20
)

func newHome(t *testing.T, bin, faultBin, driver, kernel, rootfs string) *home {
	t.Helper()
	h := &home{t: t, bin: bin, faultBin: faultBin, driver: driver, kernel: kernel, rootfs: rootfs, scratch: t.TempDir(), bases: map[string][]byte{}}
	layers := [][]byte{imagetest.Tar(t, map[string]string{"bin/": "", "bin/sh": strings.Repeat("text", 1<<16)}), imagetest.Tar(t, map[string]string{"etc/motd": "hello"})}
	h.image = imagetest.Serve(t).Push(t, "app:1", imagetest.Image(t, layers...))
	h.archive = filepath.Join(h.scratch, "root.tar")
	if err := os.WriteFile(h.archive, layers[0], 0o600); err != nil {
		t.Fatal(err)
	}
	mount := t.TempDir()
	if os.Getuid() == 0 {
		h.mount(mount)
	} else {
		t.Log("NOT RUN: torture by a full disk: not root")
	}
	h.dir = filepath.Join(mount, "home")
	t.Cleanup(func() {
		vms, _ := os.ReadDir(filepath.Join(h.dir, "storage/vms"))
		for _, vm := range vms {
			h.run("destroy", "--checkpoints", vm.Name())
		}
	})
	return h
}

// mount puts a small file system under dir.
func (h *home) mount(dir string) {
	image := filepath.Join(h.scratch, "image")
	if shm, err := os.MkdirTemp("/dev/shm", "noid-torture-"); err == nil { // its fsyncs are not what is tried here
		image = filepath.Join(shm, "image")
		h.t.Cleanup(func() { os.RemoveAll(shm) })
	}
	mkfs := []string{"mkfs.ext4", "-q", "-m", "0"}
	if os.Getenv("NOID_TORTURE_FS") == "btrfs" {
		mkfs = []string{"mkfs.btrfs", "-q"}
	}
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, 1<<30)); err != nil {
		h.t.Fatal(err)
	}
	for _, argv := range [][]string{append(mkfs, image), {"mount", "-o", "loop", image, dir}} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			h.t.Fatalf("%v: %v: %s", argv, err, out)
		}
	}
	h.mounted = true
	h.t.Cleanup(func() {
		var out []byte
		err := errors.New("not tried")
		for range 50 { // helpers leave within a moment
			if out, err = exec.Command("umount", dir).CombinedOutput(); err == nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		h.t.Errorf("umount: %v: %s", err, out)
		exec.Command("umount", "-l", dir).Run()
	})
}

// answer is how a command ended.
type answer struct {
	code           int // -1 by a signal
	stdout, stderr string
	late           bool // it had to be killed
}

// run runs the ordinary noid.
func (h *home) run(args ...string) answer { return h.start(h.bin, nil, args...) }

func (h *home) start(bin string, env []string, args ...string) answer {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var out, errb bytes.Buffer
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Env = append(append(os.Environ(), "NOID_HOME="+h.dir, "NOID_DRIVER="+h.driver), env...)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &errb, time.Second
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		h.t.Fatalf("%s: %v", bin, err)
	}
	return answer{cmd.ProcessState.ExitCode(), out.String(), errb.String(), ctx.Err() != nil}
}

// must is run for what is not tortured. Its failure is a problem of the fault before.
func (h *home) must(args ...string) (string, error) {
	a := h.run(args...)
	if a.late {
		return "", fmt.Errorf("noid %v takes over %v", args, patience)
	}
	if a.code != 0 {
		return "", fmt.Errorf("noid %v exits %d: %s", args, a.code, strings.TrimSpace(a.stderr))
	}
	return a.stdout, nil
}

func (h *home) vmDir(name string) string { return filepath.Join(h.dir, "storage/vms", name) }

func (h *home) checkpointDir(id string) string {
	return filepath.Join(h.dir, "storage/checkpoints/src", id)
}

// ask puts a question to the tiny guest, over its console, without noid.
func (h *home) ask(vm, line string) (string, error) {
	return tinyguest.Ask(h.vmDir(vm), line, 10*time.Second)
}

// token asks the guest of vm for its token and reads the disk's.
func (h *home) token(vm string) (string, error) {
	got, err := h.ask(vm, "g")
	if err != nil {
		return "", err
	}
	memory := strings.TrimPrefix(got, "token ")
	disk, err := diskToken(filepath.Join(h.vmDir(vm), "rootfs.ext4"))
	if err == nil && disk != memory {
		err = fmt.Errorf("memory says %q, disk says %q", memory, disk)
	}
	return memory, err
}

func diskToken(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return tokenIn(f)
}

// checkpointToken is diskToken of checkpoint id, whose disk may be in the pack.
func (h *home) checkpointToken(id string) (string, error) {
	dir := h.checkpointDir(id)
	content, err := checkpoint.OpenContent(dir, "rootfs.ext4")
	if errors.Is(err, os.ErrNotExist) {
		return diskToken(filepath.Join(dir, "rootfs.ext4"))
	} else if err != nil {
		return "", err
	}
	defer content.Close()
	return tokenIn(content)
}

// packUnused is how many bytes on disk the pack has that no checkpoint of list needs.
func (h *home) packUnused(list []record) (int64, error) {
	f, err := os.Open(filepath.Join(filepath.Dir(h.checkpointDir("id")), pack.File))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	} else if err != nil {
		return 0, err
	}
	defer f.Close()
	bytes := int64(0) // of data: what the file system needs to know where that is does not count
	for start, end := range storage.DataRuns(f, 1<<40) {
		bytes += end - start
	}
	used := &pack.Counts{}
	for _, r := range list {
		tables, tablesErr := checkpoint.Tables(h.checkpointDir(r.ID))
		err = errors.Join(err, tablesErr)
		for _, t := range tables {
			used.Add(t)
		}
	}
	return bytes - used.Bytes(), err
}

func tokenIn(f io.ReaderAt) (string, error) {
	token := make([]byte, 32)
	_, err := f.ReadAt(token, tokenAt)
	return string(bytes.TrimRight(token, "\x00")), err
}

// setToken gives memory and disk of vm a token.
func (h *home) setToken(vm, token string) error {
	if _, err := h.ask(vm, "s "+token); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(h.vmDir(vm), "rootfs.ext4"), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt(append([]byte(token), make([]byte, 32-len(token))...), tokenAt)
	return err
}

// found makes src and its checkpoints.
func (h *home) found() {
	h.t.Helper()
	make := func() error {
		if _, err := h.must("create", "src", "--kernel", h.kernel, "--rootfs", h.rootfs, "--no-agent", "--mem", "64"); err != nil {
			return err
		}
		if err := h.ready("src"); err != nil {
			return err
		}
		for _, token := range []string{"one", "two", live} {
			if err := h.setToken("src", token); err != nil {
				return err
			}
			if token == live {
				break
			}
			if _, err := h.must("checkpoint", "src", "--label", token); err != nil {
				return err
			}
		}
		return nil
	}
	if err := make(); err != nil {
		h.t.Fatal(err)
	}
	// What a QEMU has that is paused, has had a checkpoint, or whose helper was killed while it began to listen; what
	// network helpers make, a moment later; what a command over the console has; and what the next command for the VM
	// removes, after a removal failed.
	h.files = map[string]bool{"agent.held": true, "vmstate.last": true, "agent.sock.new": true, "helper.sock.new": true, "pause.sock.new": true, "untouched.new": true, "checkpoint.last.new": true,
		"memory.snap": true, "vmstate.snap": true, "net.sock": true, "net.sock.new": true, "net.lock": true, "net.err": true, "exec.lock": true}
	for _, vm := range []string{"src", "new"} {
		if vm == "new" { // a clone has files that a VM that booted has not, and the other way round
			if _, err := h.must("restore", "src", "one", "--as", vm); err != nil {
				h.t.Fatal(err)
			}
		}
		for _, name := range names(h.vmDir(vm)) {
			h.files[name] = true
		}
	}
}

// ready waits until the guest of vm answers.
func (h *home) ready(vm string) error {
	deadline := time.Now().Add(patience)
	for {
		_, err := tinyguest.Ask(h.vmDir(vm), "c", time.Second)
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// record is what `list --json` and `checkpoints --json` say.
type record struct {
	Name, State, ID, Label string
	PID                    int
	Memory                 bool
}

func (h *home) records(args ...string) ([]record, error) {
	out, err := h.must(append(args, "--json")...)
	if err != nil {
		return nil, err
	}
	var list []record
	return list, json.Unmarshal([]byte(out), &list)
}

// reset brings the home back to what the next fault expects.
func (h *home) reset() error {
	vms, err := h.records("list")
	if err != nil {
		return err
	}
	src := false
	for _, vm := range vms {
		if vm.Name == "src" {
			src = vm.State == "running"
			continue
		}
		if _, err := h.must("destroy", "--checkpoints", vm.Name); err != nil {
			return err
		}
	}
	checkpoints, err := h.records("checkpoints", "src")
	if err != nil {
		return err
	}
	for _, c := range checkpoints {
		if c.Label != "one" && c.Label != "two" {
			if _, err := h.must("forget", "src", c.ID); err != nil {
				return err
			}
		}
	}
	if token, err := h.token("src"); src && err == nil && token == live {
		return nil
	}
	if _, err := h.must("restore", "src", "one", "--no-backup"); err != nil {
		return err
	}
	return h.setToken("src", live)
}

// leftovers returns what should not be in the home: files that no verb can reach, and in VMs' directories files that a
// VM of this driver does not have.
func (h *home) leftovers() (list []string) {
	filepath.WalkDir(h.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		name := d.Name()
		rel, _ := filepath.Rel(h.dir, path)
		parts := strings.Split(rel, "/")
		hidden := strings.HasPrefix(name, ".") && !slices.Contains([]string{".config.lock", ".emulated", ".home.lock", ".index.lock", ".setup.lock"}, name)
		strange := len(parts) == 4 && parts[1] == "vms" && !h.files[name] && name != "base.ext4" && !strings.HasPrefix(name, "memory.base.") && !strings.HasPrefix(name, "memory.own.")
		if parts[0] == "networks" && (name == ".lock" || strings.HasPrefix(name, ".inbox-")) { // a network helper's
			return nil
		}
		if rel != "." && (hidden || strange) {
			list = append(list, rel)
			if d.IsDir() {
				return filepath.SkipDir
			}
		}
		return nil
	})
	return list
}

// process is one that works in the home.
type process struct {
	pid     int
	cwd     string
	command string
}

// processes returns those whose working directory or NOID_HOME is the home.
func (h *home) processes() (list []process) {
	for _, name := range names("/proc") {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		stat, _ := os.ReadFile(filepath.Join("/proc", name, "stat"))
		if i := bytes.LastIndexByte(stat, ')'); i < 0 || i+2 >= len(stat) || stat[i+2] == 'Z' {
			continue
		}
		cwd, _ := os.Readlink(filepath.Join("/proc", name, "cwd"))
		env, _ := os.ReadFile(filepath.Join("/proc", name, "environ"))
		if strings.HasPrefix(cwd, h.dir+"/") || slices.Contains(strings.Split(string(env), "\x00"), "NOID_HOME="+h.dir) {
			command, _ := os.ReadFile(filepath.Join("/proc", name, "cmdline"))
			list = append(list, process{pid, cwd, strings.ReplaceAll(strings.TrimRight(string(command), "\x00"), "\x00", " ")})
		}
	}
	return list
}

// orphans returns the processes that no VM of the listing has: it may have its VMM, one helper and one network helper.
func (h *home) orphans(vms []record) (list []process) {
	helpers, networks := map[string]int{}, map[string]int{}
	for _, p := range h.processes() {
		known := false
		for _, vm := range vms {
			helper := p.cwd == h.vmDir(vm.Name) && strings.Contains(p.command, " helper ") && vm.State != "stopped" && vm.State != "dead"
			if helper {
				helpers[vm.Name]++
			}
			net := p.cwd == h.vmDir(vm.Name) && strings.Contains(p.command, "/noid-net-") && vm.State != "stopped" && vm.State != "dead"
			if net {
				networks[vm.Name]++
			}
			known = known || vm.PID != 0 && p.pid == vm.PID || helper && helpers[vm.Name] == 1 || net && networks[vm.Name] == 1
		}
		if !known {
			list = append(list, p)
		}
	}
	return list
}

// calm lets everything else go before the guests: on KVM a tiny guest polls for ever.
func (h *home) calm() {
	for _, p := range h.processes() {
		for _, task := range names(filepath.Join("/proc", strconv.Itoa(p.pid), "task")) {
			if tid, err := strconv.Atoi(task); err == nil {
				unix.Setpriority(unix.PRIO_PROCESS, tid, 19)
			}
		}
	}
}

// fill is the shell command that fills the home's file system.
func (h *home) fill() string {
	ballast := filepath.Join(filepath.Dir(h.dir), "ballast")
	return fmt.Sprintf("fallocate -l $(df --output=avail -B1 %[1]s | tail -1) %[2]s; head -c 8M /dev/zero >>%[2]s.2; sync -f %[2]s; head -c 8M /dev/zero >>%[2]s.3; true",
		filepath.Dir(h.dir), ballast)
}

func (h *home) empty() {
	found, _ := filepath.Glob(filepath.Join(filepath.Dir(h.dir), "ballast*"))
	for _, path := range found {
		os.Remove(path)
	}
	if h.mounted {
		unix.Sync()
	}
}

func names(dir string) []string {
	f, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer f.Close()
	list, _ := f.Readdirnames(-1)
	return list
}
