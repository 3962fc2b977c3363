package agent

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestIdentity(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string // before
		links map[string]string
		want  map[string]string // after; "id" stands for a new machine-id
		init  bool
	}{
		{"usual", map[string]string{"etc/hostname": "old\n", "etc/machine-id": strings.Repeat("0", 32) + "\n"}, nil,
			map[string]string{"etc/hostname": "clone\n", "etc/machine-id": "id"}, false},
		{"shorter, and an empty id", map[string]string{"etc/hostname": "a-longer-name\n", "etc/machine-id": ""}, nil,
			map[string]string{"etc/hostname": "clone\n", "etc/machine-id": "id"}, false},
		{"no hostname", map[string]string{"etc/passwd": ""}, nil, map[string]string{"etc/hostname": "clone\n", "etc/machine-id": "id"}, false},
		{"no etc", nil, nil, map[string]string{"etc/hostname": "", "etc/machine-id": ""}, false},
		{"dbus's own", map[string]string{"etc/machine-id": "a\n", "var/lib/dbus/machine-id": "a\n"}, nil,
			map[string]string{"etc/machine-id": "id", "var/lib/dbus/machine-id": "id"}, false},
		{"dbus's link", map[string]string{"etc/machine-id": "a\n", "var/lib/dbus/x": ""}, map[string]string{"var/lib/dbus/machine-id": "../../../etc/machine-id"},
			map[string]string{"etc/machine-id": "id", "var/lib/dbus/machine-id": "id"}, false},
		{"link out", map[string]string{"etc/passwd": "", "secret": "kept"}, map[string]string{"etc/hostname": "../secret"},
			map[string]string{"secret": "kept"}, false},
		{"no etc, and no init", nil, nil, map[string]string{"etc/hostname": "clone\n", "etc/machine-id": "id"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			for name, content := range c.files {
				must(t, os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755))
				must(t, os.WriteFile(filepath.Join(root, name), []byte(content), 0o640))
			}
			for name, to := range c.links {
				must(t, os.Symlink(to, filepath.Join(root, name)))
			}
			(&Server{Init: c.init}).setIdentity(root, "clone")
			ids := map[string]bool{}
			for name, want := range c.want {
				data, _ := os.ReadFile(filepath.Join(root, name))
				if want == "id" {
					ids[string(data)] = true
					if !regexp.MustCompile(`^[0-9a-f]{32}\n$`).Match(data) {
						t.Errorf("%s: %q", name, data)
					}
				} else if string(data) != want {
					t.Errorf("%s: %q, want %q", name, data, want)
				}
				if _, old := c.files[name]; old && c.links[name] == "" {
					if fi, err := os.Stat(filepath.Join(root, name)); err != nil || fi.Mode() != 0o640 {
						t.Errorf("%s: mode %v %v", name, fi.Mode(), err)
					}
				}
			}
			if len(ids) > 1 {
				t.Errorf("machine-ids differ: %v", ids)
			}
		})
	}
}

// TestRewriteWhole reads a file while it is rewritten: a read finds one line or the other.
func TestRewriteWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hostname")
	names := []string{"a-longer-name", "b"}
	must(t, os.WriteFile(path, []byte(names[0]+"\n"), 0o644))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 2000 {
			rewrite(path, names[i%2]+"\n", false)
		}
	}()
	for buf := make([]byte, 100); ; {
		f, err := os.Open(path)
		must(t, err)
		n, err := f.Read(buf)
		f.Close()
		must(t, err)
		if text := strings.TrimRight(string(buf[:n]), "\n\x00"); text != names[0] && text != names[1] {
			t.Fatalf("%q", text)
		}
		select {
		case <-done:
			return
		default:
		}
	}
}

// TestStale has an init set what it read of /etc/hostname while that was rewritten.
func TestStale(t *testing.T) {
	s := &Server{name: "web-1", names: []string{"noid"}}
	for now, want := range map[string]bool{"noid": true, "1": true, "web-1": false, "mine": false, "": false} {
		if got := s.isStale(now); got != want {
			t.Errorf("%q: %t", now, got)
		}
	}
}

func TestReadName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hostname")
	for text, want := range map[string]string{"a\n": "a", "": "", "# no name\n\n b \n": "b", strings.Repeat("x", 100): strings.Repeat("x", 64)} {
		must(t, os.WriteFile(path, []byte(text), 0o644))
		if got := readName(path); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
