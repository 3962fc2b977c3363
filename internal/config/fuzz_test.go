package config

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"

	"noid/internal/storage"
)

var fuzzSeeds = []string{
	"", "cpus = 2\nmem = 512\n", "# mine\nkernel = \"/boot/vmlinuz\"\n\n[later]\nkernel = 1\n", "boot_args = \"\"\"\na\nb\"\"\"\nmem=64",
	"'mem' = 128 # why\r\ncpus = 1\r\n", "a.b.c = [1, 2.5, {x = 1979-05-27T07:32:00Z}]\n", "cpus = nan\n", "\xef\xbb\xbfcpus = 1", "\"\" = 1\n\"a\\nb\" = inf\n",
}

// FuzzLoad reads any file: what is accepted keeps the limits that the rest of noid relies on.
func FuzzLoad(f *testing.F) {
	for _, seed := range fuzzSeeds {
		f.Add([]byte(seed))
	}
	path := filepath.Join(f.TempDir(), "config.toml")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := storage.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(path)
		if err != nil {
			if len(err.Error()) > len(path)+2*len(data)+4096 {
				t.Errorf("%d bytes of error from %d bytes of file", len(err.Error()), len(data))
			}
			return
		}
		for _, warning := range c.Ignored {
			if rest, _ := strings.CutPrefix(warning, path+":"); rest[0] < '1' || rest[0] > '9' {
				t.Errorf("no line in %q", warning)
			}
		}
		if c.CPUs != 0 && (c.CPUs < MinCPUs || c.CPUs > MaxCPUs) || c.MemMiB != 0 && (c.MemMiB < MinMemMiB || c.MemMiB > MaxMemMiB) {
			t.Errorf("accepted %+v", c)
		}
		for _, p := range []string{c.Kernel, c.Rootfs, c.Firecracker, c.QEMU} {
			if p != "" && (!filepath.IsAbs(p) || !isText(p)) {
				t.Errorf("accepted path %q", p)
			}
		}
		if len(c.BootArgs) > maxBootArgs || !isText(c.BootArgs) || c.Driver != "" && c.Driver != "firecracker" && c.Driver != "qemu" {
			t.Errorf("accepted %+v", c)
		}
	})
}

// FuzzEdit sets and unsets a key in any file that can be read: what comes out can be read, has the new value, and all
// that was there beside it.
func FuzzEdit(f *testing.F) {
	for _, seed := range fuzzSeeds {
		f.Add([]byte(seed), uint8(0), "console=ttyS0 \"quoted\" 'x' \\")
		f.Add([]byte(seed), uint8(1), "2")
		f.Add([]byte(seed), uint8(4), "/boot/#\u00e9")
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte, which uint8, value string) {
		k := keys[int(which)%len(keys)]
		old, err := parse(data)
		if err != nil {
			return
		}
		clean, err := k.clean(value)
		if err != nil {
			return
		}
		line, err := assignment(k, clean)
		if err != nil {
			t.Fatalf("%s = %q: %v", k.name, clean, err)
		}
		path := filepath.Join(dir, "config.toml")
		if err := storage.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		read := func() map[string]any {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			values, err := parse(text)
			if err != nil {
				t.Fatalf("changing %s makes %q: %v", k.name, text, err)
			}
			others(t, k.name, old, values)
			return values
		}
		if err := change(path, k.name, line); err != nil {
			if text, _ := os.ReadFile(path); !bytes.Equal(text, data) {
				t.Errorf("refused, but %q became %q", data, text)
			}
			if _, table := old[k.name].(map[string]any); !table {
				t.Errorf("setting %s in %q: %v", k.name, data, err)
			}
			return
		}
		if got := read(); fmt.Sprint(got[k.name]) != clean {
			t.Errorf("setting %s to %q makes it %v", k.name, clean, got[k.name])
		}
		if err := change(path, k.name, nil); err != nil {
			t.Fatalf("unsetting %s: %v", k.name, err)
		}
		if v, ok := read()[k.name]; ok {
			t.Errorf("unset %s is %v", k.name, v)
		}
	})
}

// others compares all keys but one, as TOML: NaN is not equal to itself.
func others(t *testing.T, name string, old, got map[string]any) {
	t.Helper()
	text := func(m map[string]any) []byte {
		rest := map[string]any{}
		for k, v := range m {
			if k != name {
				rest[k] = v
			}
		}
		out, err := toml.Marshal(rest)
		if err != nil {
			t.Skip("it cannot be written as TOML: ", err)
		}
		return out
	}
	if a, b := text(old), text(got); !bytes.Equal(a, b) {
		t.Errorf("other keys changed: %s", cmp.Diff(string(a), string(b)))
	}
}

// FuzzValues checks that the final form of a value is final.
func FuzzValues(f *testing.F) {
	for _, seed := range []string{"", "1", "2G", "512mib", "000000064", "1T", "/x", "qemu", "console=ttyS0", "a\nb", "\xff", "-1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		for _, k := range keys {
			once, err := k.clean(value)
			if err != nil {
				continue
			}
			twice, err := k.clean(once)
			if err != nil || twice != once {
				t.Errorf("%s: %q becomes %q, then %q, %v", k.name, value, once, twice, err)
			}
			var a, b Config
			k.store(&a, once)
			k.store(&b, twice)
			if !reflect.DeepEqual(a, b) || strings.ContainsAny(once, "\n\r\x00") {
				t.Errorf("%s: accepted %q", k.name, once)
			}
		}
		Nearest(value, Keys())
	})
}
