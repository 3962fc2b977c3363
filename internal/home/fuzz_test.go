package home

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"noid/internal/checkpoint"
	"noid/internal/manifest"
)

// FuzzNames checks that an accepted name is one harmless element of a path, and that what is made of names can be taken
// apart again.
func FuzzNames(f *testing.F) {
	for _, seed := range []string{"", "a", "dev@0123abcd", "dev@", "../x", "-rf", "a/b", "a\nb", "\x1b[31m", ".new-a-0123", "a@b@c", "ä", strings.Repeat("a", 64), "a\x00"} {
		f.Add(seed)
	}
	h := &Home{dir: "/home"}
	f.Fuzz(func(t *testing.T, s string) {
		if err := CheckName(s); err == nil {
			if len(s) > 63 || s != filepath.Base(s) || !filepath.IsLocal(s) || strings.ContainsAny(s, "/@:\\ \t\r\n\x00\x1b*?[]'\"$`") ||
				s[0] == '.' || s[0] == '-' || filepath.Dir(h.VMDir(s)) != h.VMsDir() || isStaging(s) {
				t.Errorf("accepted %q", s)
			}
			for _, dir := range []string{h.StagingDir(s), h.OldDir(s)} {
				base := filepath.Base(dir)
				if vm, ok := stagedVM(base); !ok || vm != s || !isStaging(base) || CheckName(base) == nil || filepath.Dir(dir) != h.StagingRoot() {
					t.Errorf("staging directory %q of %q: %q, %v", base, s, vm, ok)
				}
			}
			if vm, ref, err := ParseRef(s + "@l@bel"); err != nil || vm != s || ref != "l@bel" {
				t.Errorf("ParseRef: %q, %q, %v", vm, ref, err)
			}
		} else if len(err.Error()) > 1000 || strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Errorf("error %q", err)
		}
		vm, ref, err := ParseRef(s)
		if err == nil && (CheckName(vm) != nil || ref != "" && s != vm+"@"+ref || ref == "" && s != vm) {
			t.Errorf("ParseRef(%q) = %q, %q", s, vm, ref)
		}
		if err != nil && (vm != "" || ref != "") {
			t.Errorf("ParseRef(%q) = %q, %q, %v", s, vm, ref, err)
		}
		if vm, ok := stagedVM(s); ok && CheckName(vm) != nil {
			t.Errorf("stagedVM(%q) = %q", s, vm)
		}
		if checkID(s) && (CheckName(s) != nil || len(s) != idLen) {
			t.Errorf("accepted the id %q", s)
		}
	})
}

// FuzzVM reads any vm.json: what is accepted belongs to the VM, and is the same after it was written again.
func FuzzVM(f *testing.F) {
	whole, err := json.Marshal(VM{Format: manifest.Format, Name: "dev", Unannounced: &Announcement{Event: "clone"}})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{string(whole), "", "{}", "null", `{"format":1,"name":"dev"}`, `{"format":3,"name":"dev"}`, `{"format":1,"name":"other"}`,
		`{"format":1,"name":"dev","process":{"pid":-1}}`, `{"format":1,"name":"dev","machine":{"hardware":{"a":"b"}}}`, strings.Repeat("[", 20000)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := parseVM(data, "dev")
		if err != nil {
			boundedError(t, err, data)
			return
		}
		if v.Name != "dev" || v.Format < 1 || v.Format > manifest.Format {
			t.Errorf("accepted %+v", v)
		}
		again, err := json.Marshal(v)
		if err != nil {
			t.Fatalf("it cannot be written again: %v", err)
		}
		w, err := parseVM(again, "dev")
		if diff := cmp.Diff(v, w, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Errorf("written and read again: %v %s", err, diff)
		}
	})
}

// FuzzCheckpoint is FuzzVM for checkpoint.json, read from a file as noid does.
func FuzzCheckpoint(f *testing.F) {
	h := openHome(f)
	dir := h.CheckpointDir("dev", "0123abcd")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		f.Fatal(err)
	}
	path := filepath.Join(dir, "checkpoint.json")
	if err := checkpoint.Write(dir, checkpoint.Record{ID: "0123abcd", VM: "dev", Label: "l", CreatedAt: epoch, Memory: true}); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	if _, err := h.LoadCheckpoint("dev", "0123abcd"); err != nil {
		f.Fatal(err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{string(whole), "", "{}", "[]", `{"format":1,"id":"0123abcd","vm":"dev"}`, `{"format":1,"id":"0123ABCD","vm":"dev"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := h.LoadCheckpoint("dev", "0123abcd")
		if err != nil {
			boundedError(t, err, data)
			return
		}
		if c.VM != "dev" || c.ID != "0123abcd" || c.Format < 1 || c.Format > manifest.Format {
			t.Errorf("accepted %+v", c)
		}
		found, err := h.FindCheckpoint(t.Context(), "dev", "012")
		if diff := cmp.Diff(c, found); err != nil || diff != "" {
			t.Errorf("by its prefix: %v %s", err, diff)
		}
	})
}

// boundedError: a damaged record is told in a bounded number of words.
func boundedError(t *testing.T, err error, data []byte) {
	t.Helper()
	if text := err.Error(); len(text) > 4096+8*len(data) || !utf8.ValidString(text) {
		t.Errorf("an error of %d bytes from %d: %.200q", len(text), len(data), text)
	}
}

// FuzzIndex puts damaged databases in noid.db's place: every VM is listed, and no other.
func FuzzIndex(f *testing.F) {
	h := openHome(f)
	for _, name := range []string{"a", "b"} {
		addVM(f, h, testVM(name, epoch))
		age(f, filepath.Join(h.VMDir(name), vmManifest))
	}
	if _, err := h.ListVMs(f.Context()); err != nil {
		f.Fatal(err)
	}
	h.Close() // the log goes into the file
	sound, err := os.ReadFile(h.indexPath())
	if err != nil {
		f.Fatal(err)
	}
	// A whole database is too long to be changed well: damages are (offset, bytes) over it.
	f.Add(uint16(0), []byte(nil), false)
	f.Add(uint16(0), []byte("garbage"), true)
	f.Add(uint16(18), []byte{1, 1}, false)
	f.Add(uint16(60), []byte{0, 0, 0, 9}, false)
	f.Add(uint16(100), []byte{5, 0, 0, 0xff, 0xff}, false)
	f.Add(uint16(4096), []byte(strings.Repeat("\xff", 200)), true)
	f.Fuzz(func(t *testing.T, offset uint16, damage []byte, cut bool) {
		data := append([]byte(nil), sound...)
		at := int(offset) % len(data)
		n := copy(data[at:], damage)
		if cut {
			data = data[:at+n]
		}
		h.Close()
		for _, suffix := range []string{"-wal", "-shm"} {
			os.Remove(h.indexPath() + suffix)
		}
		if err := os.WriteFile(h.indexPath(), data, 0o600); err != nil {
			t.Fatal(err)
		}
		list, err := h.ListVMs(t.Context())
		if err != nil || len(list) != 2 {
			t.Fatalf("listing with a damaged index: %v, %v", list, err)
		}
		// A changed byte within a row's text goes unseen, and may change the order.
		if a, b := list[0], list[1]; a.Err != nil || b.Err != nil || a.Name+b.Name != "ab" && a.Name+b.Name != "ba" {
			t.Errorf("listed %+v", list)
		}
		if aside, _ := filepath.Glob(globEscape(h.indexPath()) + ".damaged-*"); len(aside) > 3 {
			t.Errorf("%d files moved aside", len(aside))
		}
	})
}
