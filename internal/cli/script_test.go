package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"noid/internal/agent"
	"noid/internal/agent/changes"
	"noid/internal/link/tarfs"
	"noid/internal/vm"
	"noid/internal/vm/vmtest"
	"noid/internal/vmm"
	"noid/internal/vmm/conformance/tinyguest"
	"noid/internal/vmm/drivers"
)

// scriptVMM is the command that stands for a VMM and the agent in its guest. For cp, the agent runs its own program by
// that name.
const scriptVMM = "noid-agent"

// scriptEmulated in the environment has the fake driver say that it emulates.
const scriptEmulated = "NOID_TEST_EMULATED"

// scriptNoid is noid with the fake driver.
func scriptNoid() {
	os.Exit(run(os.Args[1:], func(drivers.Config, func(driver, dir string) error) vm.Drivers {
		return vmtest.Drivers{Fake: &vmtest.Driver{Program: []string{scriptVMM}}, Emulated: os.Getenv(scriptEmulated) != ""}
	}))
}

// scriptAgent runs the guest's commands on this machine until it is killed, or is one of the agent's tools.
func scriptAgent() {
	if len(os.Args) > 1 && os.Args[1] == "changes" {
		os.Exit(scriptChanges())
	} else if len(os.Args) > 1 && os.Args[1] == "trust" {
		if err := agent.Trust(scriptGuest(), os.Args[2:], os.Stdin, func(string) {}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	} else if len(os.Args) > 1 {
		os.Exit(tarfs.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	time.AfterFunc(10*time.Minute, func() { os.Exit(1) }) // a test that was killed does not end it
	os.Remove(vmtest.JobsSocket)
	l, err := net.Listen("unix", vmtest.JobsSocket)
	if err == nil {
		err = (&agent.Server{}).Serve(l)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// scriptGuest is the directory of the script that stands for a guest's.
func scriptGuest() string {
	vmDir, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", os.Getppid()))
	return filepath.Join(vmDir, "../../../../guest")
}

// scriptChanges is what a guest has changed: guest/upper and guest/root of the script's directory stand for its overlay.
func scriptChanges() int {
	guest, err := scriptGuest(), error(nil)
	if _, refused := os.Lstat(filepath.Join(guest, "refuse")); refused == nil {
		err = errors.New("no\x1b[31m way")
	}
	var dirs [2]int
	for i, name := range []string{"upper", "root"} {
		if err == nil {
			dirs[i], err = unix.Open(filepath.Join(guest, name), unix.O_RDONLY|unix.O_DIRECTORY, 0)
		}
	}
	if err == nil {
		err = changes.Write(os.Stdout, dirs[0], dirs[1], func(text string) { fmt.Fprintln(os.Stderr, text) })
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// TestScripts runs testdata/script/*.txtar: one script a verb, to be read as documentation. Each has a home of its own.
// A kernel and a root file system are configured there. The fake driver runs the VMs.
//
// Beside testscript's own commands there are:
//
//	code N CMD...             CMD ends with exit code N
//	row CELL...               the table on stdout has a row of these cells; * is any cell
//	await CELL... -- CMD...   CMD prints such a row, at last: it is run until it does
//	let NAME                  stdout becomes the variable NAME
//	field KEY NAME            the text at KEY of the JSON document on stdout does
//	crash VM                  the VM's VMM dies
//	registry ...              see scriptRegistry
//
// and the conditions root, and namespaces: whoever runs the tests can make a pid namespace.
func TestScripts(t *testing.T) {
	config := scriptConfig(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			home := filepath.Join(env.WorkDir, "home")
			env.Setenv("NOID_HOME", home)
			env.Setenv("NO_COLOR", "1")
			env.Defer(func() {
				if err := endVMMs(home); err != nil {
					t.Error(err)
				}
			})
			if err := os.Mkdir(home, 0o700); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(home, "config.toml"), config, 0o600)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": scriptCode, "row": scriptRow, "await": scriptAwait, "let": scriptLet, "field": scriptField, "crash": scriptCrash,
			"registry": scriptRegistry(t),
		},
		Condition: scriptCondition,
	})
}

// scriptConfig is a configuration that names a kernel and a root file system, as 'noid config' writes it.
func scriptConfig(t *testing.T) []byte {
	dir := t.TempDir()
	kernel, rootfs, home := filepath.Join(dir, "vmlinux"), filepath.Join(dir, "rootfs.ext4"), filepath.Join(dir, "home")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(kernel, tinyguest.Kernel(), 0o600))
	must(os.WriteFile(rootfs, nil, 0o600))
	must(os.Truncate(rootfs, 1<<20))
	for _, args := range [][]string{
		{"/sbin/mke2fs", "-q", "-F", rootfs},
		{"noid", "config", "set", "kernel", kernel},
		{"noid", "config", "set", "rootfs", rootfs},
	} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = append(os.Environ(), "NOID_HOME="+home)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", args, err, out)
		}
	}
	config, err := os.ReadFile(filepath.Join(home, "config.toml"))
	must(err)
	return config
}

// endVMMs kills what runs in the VMs' directories of a home, and in those that a failed verb has left.
func endVMMs(home string) error {
	return filepath.WalkDir(home, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != vmm.SerialInFile {
			return err
		}
		for _, p := range vmm.FindIn(filepath.Dir(path)) {
			if err := p.Kill(context.Background()); err != nil {
				return err
			}
		}
		return nil
	})
}

func scriptCondition(name string) (bool, error) {
	switch name {
	case "root":
		return os.Geteuid() == 0, nil
	case "namespaces":
	default:
		return false, fmt.Errorf("no condition %q", name)
	}
	args := []string{"--pid", "--fork", "--mount-proc", "true"}
	if os.Geteuid() != 0 {
		args = append([]string{"--user", "--map-root-user"}, args...)
	}
	return exec.Command("unshare", args...).Run() == nil, nil
}

func scriptCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N CMD [ARG...]")
	}
	if got := code(ts.Exec(args[1], args[2:]...)); strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}

func scriptRow(ts *testscript.TestScript, neg bool, want []string) {
	if found := hasRow(ts.ReadFile("stdout"), want); found == neg {
		ts.Fatalf("a row %q is in the table: %v", want, found)
	}
}

func hasRow(table string, want []string) bool {
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(line, "|\n"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if slices.EqualFunc(want, cells, func(want, cell string) bool { return want == "*" || want == cell }) {
			return true
		}
	}
	return false
}

func scriptAwait(ts *testscript.TestScript, neg bool, args []string) {
	dashes := slices.Index(args, "--")
	if neg || dashes < 1 || len(args) < dashes+2 {
		ts.Fatalf("usage: await CELL... -- CMD [ARG...]")
	}
	for start := time.Now(); time.Since(start) < time.Minute; {
		ts.Check(ts.Exec(args[dashes+1], args[dashes+2:]...))
		if hasRow(ts.ReadFile("stdout"), args[:dashes]) {
			return
		}
	}
	ts.Fatalf("no row %q comes into the table", args[:dashes])
}

func scriptLet(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: let NAME")
	}
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
}

func scriptField(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: field KEY NAME")
	}
	var document map[string]any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &document))
	text, ok := document[args[0]].(string)
	if !ok {
		ts.Fatalf("no text at %s", args[0])
	}
	ts.Setenv(args[1], text)
}

func scriptCrash(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: crash VM")
	}
	ts.Check(ts.Exec("noid", "inspect", args[0]))
	var vm struct{ PID int }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &vm))
	if vm.PID == 0 {
		ts.Fatalf("vm %s does not run", args[0])
	}
	dead := vmm.FindIn(filepath.Join(ts.Getenv("NOID_HOME"), "storage/vms", args[0]))
	for _, p := range dead {
		if p.PID == vm.PID {
			ts.Check(p.Kill(context.Background()))
			return
		}
	}
	ts.Fatalf("process %d is no VMM of %s", vm.PID, args[0])
}
