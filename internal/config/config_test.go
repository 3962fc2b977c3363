package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"noid/internal/errs"
)

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoad(t *testing.T) {
	full := writeConfig(t, `boot_args = "quiet debug"
cpus = 4
driver = "qemu"
firecracker = "/usr/bin/firecracker"
kernel = "/k"
mem = "2G"
qemu = "/usr/bin/q"
rootfs = "/r"
of_a_newer_noid = [1, 2]
`)
	want := Config{Kernel: "/k", Rootfs: "/r", CPUs: 4, MemMiB: 2048, Driver: "qemu", BootArgs: "quiet debug",
		Firecracker: "/usr/bin/firecracker", QEMU: "/usr/bin/q"}
	got, err := Load(full)
	want.Ignored = []string{full + `:9: the key "of_a_newer_noid" is not known and is ignored`}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	for _, path := range []string{writeConfig(t, ""), filepath.Join(t.TempDir(), "missing")} {
		if got, err := Load(path); err != nil || !cmp.Equal(got, Config{}) {
			t.Errorf("Load(%s) = %v, %v", path, got, err)
		}
	}
	for _, c := range []struct{ text, where string }{
		{"cpus = 1\nmem = = 3\n", ":2: "},
		{"cpus = 1\nmem = 5\n", ":2: mem: "},
		{"# x\n\ncpus = 33\n", ":3: cpus: "},
		{"driver = \"xen\"\n", ":1: driver: "},
		{"cpus = [1]\n", ":1: cpus: "},
		{"cpus = 1.5\n", ":1: cpus: "},
		{"cpus = 1\ncpus = 2\n", "cpus"},
		{"\x00\xff\xfe", ": "},
	} {
		path := writeConfig(t, c.text)
		_, err := Load(path)
		if !errors.Is(err, errs.ErrUsage) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), c.where) || errs.Hint(err) == "" {
			t.Errorf("Load of %q: %v (hint %q)", c.text, err, errs.Hint(err))
		}
	}
	if _, err := Load(t.TempDir()); err == nil {
		t.Error("a directory was read")
	}
	if _, err := Load(writeConfig(t, strings.Repeat("#\n", 1<<20))); err == nil {
		t.Error("a file of 2 MiB was read")
	}
}

// TestIgnored warns of every key that noid does not know, in the order of the lines, and takes one out.
func TestIgnored(t *testing.T) {
	path := writeConfig(t, "# mine\nmemm = 512\ncpus = 2\nnett.kind = \"x\"\nnett.size = 3\n\n[rootf]\npath = 1\n[rootf.sub]\ncpus = 3\n[[other]]\n")
	c, err := Load(path)
	var want []string
	for _, w := range []string{`2: the key "memm" is not known and is ignored: did you mean "mem"?`, `4: the key "nett" is not known and is ignored: did you mean "net"?`,
		`7: the key "rootf" is not known and is ignored: did you mean "rootfs"?`, `11: the key "other" is not known and is ignored`} {
		want = append(want, path+":"+w)
	}
	if diff := cmp.Diff(Config{CPUs: 2, Ignored: want}, c); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	if err := Unset(path, "memm"); err != nil {
		t.Error(err)
	}
	if err := Unset(path, "memm"); !errors.Is(err, errs.ErrUsage) {
		t.Errorf("a key that is neither known nor there: %v", err)
	}
	if c, err := Load(path); err != nil || c.CPUs != 2 || len(c.Ignored) != 3 {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestSetAndGet(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for name, mode := range map[string]os.FileMode{"kernel.bin": 0o600, "tool": 0o700} {
		if err := os.WriteFile(name, []byte("x"), mode); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "config.toml")
	for _, c := range []struct {
		key, value string
		want       string // as Get returns it
		kind       error  // of the refusal
		says       string // in the error or hint
	}{
		{key: "cpus", value: "32", want: "32"},
		{key: "cpus", value: "33", kind: errs.ErrUsage, says: "32"},
		{key: "cpus", value: "0", kind: errs.ErrUsage},
		{key: "cpus", value: "two", kind: errs.ErrUsage},
		{key: "mem", value: "2G", want: "2048"},
		{key: "mem", value: "63", kind: errs.ErrUsage, says: "64"},
		{key: "driver", value: "qemu", want: "qemu"},
		{key: "driver", value: "qmeu", kind: errs.ErrUsage, says: `did you mean "qemu"?`},
		{key: "boot_args", value: `a "b" \c`, want: `a "b" \c`},
		{key: "boot_args", value: "a\nb", kind: errs.ErrUsage},
		{key: "boot_args", value: strings.Repeat("x", 1025), kind: errs.ErrUsage},
		{key: "kernel", value: "kernel.bin", want: filepath.Join(dir, "kernel.bin")},
		{key: "kernel", value: "missing", kind: errs.ErrNotFound, says: "kernel not found: " + dir},
		{key: "rootfs", value: "missing", kind: errs.ErrNotFound, says: "rootfs not found: "},
		{key: "rootfs", value: dir, kind: errs.ErrUsage, says: "regular"},
		{key: "qemu", value: "tool", want: filepath.Join(dir, "tool")},
		{key: "qemu", value: "kernel.bin", kind: errs.ErrUsage, says: "executable"},
		{key: "registry_mirror", value: "http://127.0.0.1:5000/", want: "http://127.0.0.1:5000"},
		{key: "registry_mirror", value: "mirror.gcr.io", want: "mirror.gcr.io"},
		{key: "registry_mirror", value: "https://a/b", kind: errs.ErrUsage, says: "HOST:PORT"},
		{key: "registry_mirror", value: "ftp://a", kind: errs.ErrUsage, says: "HOST:PORT"},
		{key: "kernal", value: "x", kind: errs.ErrUsage, says: `did you mean "kernel"?`},
		{key: "zzzzzz", value: "x", kind: errs.ErrUsage, says: "boot_args, cpus"},
	} {
		err := Set(path, c.key, c.value, nil)
		if c.kind != nil {
			if !errors.Is(err, c.kind) || !strings.Contains(err.Error()+errs.Hint(err), c.says) {
				t.Errorf("Set(%s, %.20q) = %v, hint %q", c.key, c.value, err, errs.Hint(err))
			}
			continue
		}
		if err != nil {
			t.Errorf("Set(%s, %q): %v", c.key, c.value, err)
		}
		if got, err := Get(path, c.key); err != nil || got != c.want {
			t.Errorf("Get(%s) = %q, %v; want %q", c.key, got, err, c.want)
		}
	}
	got, err := Load(path)
	want := Config{Kernel: filepath.Join(dir, "kernel.bin"), CPUs: 32, MemMiB: 2048, Driver: "qemu", BootArgs: `a "b" \c`, QEMU: filepath.Join(dir, "tool"), RegistryMirror: "mirror.gcr.io"}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	list, err := List(path)
	if err != nil || len(list) != 7 || list[0].Key != "boot_args" || list[5].Key != "qemu" {
		t.Errorf("List = %v, %v", list, err)
	}
	refusal := errors.New("not a kernel")
	err = Set(path, "kernel", "tool", func(key, value string) error {
		if key != "kernel" || value != filepath.Join(dir, "tool") {
			t.Errorf("check(%q, %q)", key, value)
		}
		return refusal
	})
	if got, _ := Get(path, "kernel"); !errors.Is(err, refusal) || got != want.Kernel {
		t.Errorf("after a refusal (%v) the kernel is %q", err, got)
	}
	if err := Unset(path, "kernel"); err != nil {
		t.Fatal(err)
	}
	if _, err := Get(path, "kernel"); !errors.Is(err, errs.ErrNotFound) {
		t.Errorf("Get of an unset key: %v", err)
	}
	if _, err := Get(path, "kernle"); !errors.Is(err, errs.ErrUsage) {
		t.Errorf("Get of an unknown key: %v", err)
	}
}

func TestEditKeeps(t *testing.T) {
	for _, c := range []struct {
		name, before, key, value, want string // no value: unset
	}{
		{"new file", "", "cpus", "2", "cpus = 2\n"},
		{"sorted in", "boot_args = 'x'\nmem = 512\n", "cpus", "2", "boot_args = 'x'\ncpus = 2\nmem = 512\n"},
		{"replaced", "cpus = 1 # few\nmem = 512\n", "cpus", "2", "cpus = 2\nmem = 512\n"},
		{"comments", "# mine\ncpus = 1\n\n# big\nmem = 512\n", "driver", "qemu", "# mine\ncpus = 1\n\ndriver = 'qemu'\n# big\nmem = 512\n"},
		{"above a table", "cpus = 1\n[later]\nmem = 3\n", "mem", "512", "cpus = 1\nmem = 512\n[later]\nmem = 3\n"},
		{"unset", "cpus = 1\nmem = 512\n", "cpus", "", "mem = 512\n"},
		{"unset what is not set", "# x\nmem = 512", "cpus", "", "# x\nmem = 512"},
		{"a newer noid's", "balloon = true\ncpus = 1\n", "cpus", "2", "balloon = true\ncpus = 2\n"},
		{"no newline at the end", "cpus = 1", "mem", "512", "cpus = 1\nmem = 512\n"},
		{"mends a bad value", "cpus = 99\n", "cpus", "2", "cpus = 2\n"},
		{"long text", "boot_args = '''\ncpus = 7\n'''\n# mine\ncpus = 1\n", "cpus", "2", "boot_args = '''\ncpus = 7\n'''\n# mine\ncpus = 2\n"},
		{"long text that ends like a comment", "boot_args = '''\n# x'''\nmem = 512\n", "cpus", "2", "boot_args = '''\n# x'''\ncpus = 2\nmem = 512\n"},
		{"long text itself", "# a\nboot_args = '''\ncpus = 7\n''' # b\n# c\nmem = 512\n", "boot_args", "x", "# a\nboot_args = 'x'\n# c\nmem = 512\n"},
		{"quoted, dotted and inline", "\"cpus\" = 1\na.b = 1\nc = { cpus = 3 }\n", "cpus", "2", "cpus = 2\na.b = 1\nc = { cpus = 3 }\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := writeConfig(t, c.before)
			err := Unset(path, c.key)
			if c.value != "" {
				if err = os.WriteFile(path, []byte(c.before), 0o600); err == nil {
					err = Set(path, c.key, c.value, nil)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(path)
			if diff := cmp.Diff(c.want, string(got)); err != nil || diff != "" {
				t.Errorf("%v %s", err, diff)
			}
		})
	}
	path := writeConfig(t, "cpus = = 1\n")
	if err := Set(path, "mem", "512", nil); !errors.Is(err, errs.ErrUsage) {
		t.Errorf("changing a damaged file: %v", err)
	}
	if got, _ := os.ReadFile(path); string(got) != "cpus = = 1\n" {
		t.Errorf("the damaged file was changed to %q", got)
	}
}

func TestSetFollowsALink(t *testing.T) {
	target := writeConfig(t, "cpus = 1\n")
	link := filepath.Join(t.TempDir(), "config.toml")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if err := Set(link, "cpus", "3", nil); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(target); err != nil || string(got) != "cpus = 3\n" {
		t.Errorf("the link's target holds %q, %v", got, err)
	}
}

// TestConcurrentSet loses an update unless reading and writing are under one lock.
func TestConcurrentSet(t *testing.T) {
	path := writeConfig(t, "")
	values := map[string]string{"cpus": "2", "mem": "512", "driver": "qemu", "boot_args": "x"}
	var wg sync.WaitGroup
	failed := make(chan error, len(values))
	for key, value := range values {
		wg.Go(func() { failed <- Set(path, key, value, nil) })
	}
	wg.Wait()
	close(failed)
	for err := range failed {
		if err != nil {
			t.Error(err)
		}
	}
	got, err := Load(path)
	if want := (Config{CPUs: 2, MemMiB: 512, Driver: "qemu", BootArgs: "x"}); err != nil || !cmp.Equal(got, want) {
		t.Errorf("Load = %+v, %v", got, err)
	}
}

func TestParseMiB(t *testing.T) {
	for s, want := range map[string]int{"512": 512, "512M": 512, "512m": 512, "2G": 2048, "2GiB": 2048, "2gb": 2048, "1T": 1 << 20, "64": 64,
		"63": 0, "": 0, "G": 0, "-1": 0, "1.5G": 0, "2 G": 0, "2T": 0, "999999999G": 0, "99999999999999999999": 0, "0x200": 0, "512K": 0, "512B": 0} {
		got, err := ParseMiB(s)
		if got != want || (err != nil) != (want == 0) || err != nil && !errors.Is(err, errs.ErrUsage) {
			t.Errorf("ParseMiB(%q) = %d, %v; want %d", s, got, err, want)
		}
	}
}

func TestNearest(t *testing.T) {
	verbs := []string{"create", "destroy", "list", "exec", "checkpoint", "checkpoints", "restore", "cp"}
	for word, want := range map[string]string{"crate": "create", "lst": "list", "lits": "list", "CREATE": "create", "checkpiont": "checkpoint",
		"chekpoints": "checkpoints", "restroe": "restore", "frobnicate": "", "x": "", "pc": "", "": "", "dstry": "destroy"} {
		if got := Nearest(word, verbs); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
	if got := Nearest(strings.Repeat("x", 1<<20), verbs); got != "" {
		t.Errorf("Nearest of a long word: %q", got)
	}
}

func ExampleNearest() {
	fmt.Println(Nearest("kernal", Keys()))
	// Output: kernel
}
