package home

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"noid/internal/checkpoint"
	"noid/internal/errs"
	"noid/internal/manifest"
	"noid/internal/proc"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// age makes a manifest old enough to be indexed.
func age(t testing.TB, path string) {
	t.Helper()
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, h *Home) []string {
	t.Helper()
	list, err := h.ListVMs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, v := range list {
		if v.Err != nil {
			t.Errorf("vm %q: %v", v.Name, v.Err)
		}
		out = append(out, v.Name)
	}
	return out
}

// indexed returns the names of the VMs that the index has, as another program sees it.
func indexed(t *testing.T, h *Home) []string {
	t.Helper()
	db, err := sql.Open("sqlite", strings.ReplaceAll("file:"+strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(h.indexPath()), " ", "%20"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var out []string
	for _, vm := range []string{"", "dev"} {
		rows, err := readIndex(t.Context(), db, vm)
		if err != nil {
			t.Fatal(err)
		}
		out = slices.AppendSeq(out, maps.Keys(rows))
	}
	slices.Sort(out)
	return out
}

func wantNames(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestListVMs(t *testing.T) {
	h := openHome(t)
	wantNames(t, names(t, h))
	for i, name := range []string{"c", "b", "a"} {
		addVM(t, h, testVM(name, epoch.Add(time.Duration(i/2)*time.Hour)))
		age(t, filepath.Join(h.VMDir(name), "vm.json"))
	}
	for _, dir := range []string{h.StagingDir("x"), h.OldDir("a"), filepath.Join(h.VMsDir(), "lost+found")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // without the index, and with
		wantNames(t, names(t, h), "b", "c", "a")
	}
	wantNames(t, indexed(t, h), "a", "b", "c")
	if _, err := os.Stat(h.indexPath()); err != nil {
		t.Error(err) // and not where an unquoted path leads
	}
	// A changed manifest is seen at once, a removed VM too.
	v := testVM("b", epoch)
	v.Machine.CPUs = 7
	addVM(t, h, v)
	if err := os.RemoveAll(h.VMDir("c")); err != nil {
		t.Fatal(err)
	}
	list, err := h.ListVMs(t.Context())
	want := []VMEntry{{VM: v.Brief()}, {VM: testVM("a", epoch.Add(time.Hour)).Brief()}}
	if diff := cmp.Diff(want, list); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	wantNames(t, indexed(t, h), "a", "b")
}

// TestIndexIsUsed alters the index behind noid's back: what is listed then comes from it, until the manifest changes.
func TestIndexIsUsed(t *testing.T) {
	h := openHome(t)
	addVM(t, h, testVM("a", epoch))
	path := filepath.Join(h.VMDir("a"), "vm.json")
	names(t, h)
	wantNames(t, indexed(t, h)) // too young: a second save within the clock's tick would not be seen
	age(t, path)
	names(t, h)
	alter := func(v VM) {
		t.Helper()
		err := h.withIndex(t.Context(), func(db *sql.DB) error {
			rows, err := readIndex(t.Context(), db, "")
			rows["a"] = row{rows["a"].Stamp, packVM(v)}
			return errors.Join(err, writeIndex(t.Context(), db, "", rows))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	cpus := func() int {
		list, err := h.ListVMs(t.Context())
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		return list[0].Machine.CPUs
	}
	v := testVM("a", epoch)
	v.Machine.CPUs = 77
	alter(v)
	if got := cpus(); got != 77 {
		t.Errorf("the index was not used: %d", got)
	}
	// A change that SQLite takes for a sound database.
	err := h.withIndex(t.Context(), func(db *sql.DB) error {
		_, err := db.Exec(`UPDATE listings SET rows = replace(rows, '77', '78')`)
		return err
	})
	if got := cpus(); err != nil || got != testVM("a", epoch).Machine.CPUs {
		t.Errorf("a damaged row was used: %d, %v", got, err)
	}
	alter(v)
	addVM(t, h, testVM("a", epoch))
	if got := cpus(); got != testVM("a", epoch).Machine.CPUs {
		t.Errorf("a stale row was used: %d", got)
	}
}

// TestBrief has the index tell of a VM what its manifest does.
func TestBrief(t *testing.T) {
	full := testVM("a", epoch.Add(123456789))
	full.Machine.Driver, full.StopRequested, full.Process = "a driver", true, proc.Process{PID: 12, StartTicks: 1 << 63, BootID: "b"}
	for _, v := range []VM{full, {Name: "a"}} {
		got, ok := unpackVM("a", packVM(v))
		if diff := cmp.Diff(v.Brief(), got); !ok || diff != "" {
			t.Errorf("%v %s", ok, diff)
		}
	}
	full.Machine.Driver = "a\tdriver"
	if got, ok := unpackVM("a", packVM(full)); ok {
		t.Errorf("%+v", got)
	}
}

func TestDamagedIndex(t *testing.T) {
	garbage := func(path string) error { return os.WriteFile(path, []byte(strings.Repeat("garbage ", 4096)), 0o600) }
	for _, c := range []struct {
		name   string
		damage func(h *Home) error
		aside  int // databases that were moved aside
	}{
		{"garbage", func(h *Home) error { return garbage(h.indexPath()) }, 1},
		{"a directory", func(h *Home) error { return errors.Join(os.Remove(h.indexPath()), os.Mkdir(h.indexPath(), 0o700)) }, 1},
		{"empty", func(h *Home) error { return os.Truncate(h.indexPath(), 0) }, 0},
		{"cut", func(h *Home) error { return os.Truncate(h.indexPath(), 5000) }, 1},
		{"pages overwritten", func(h *Home) error {
			data, err := os.ReadFile(h.indexPath())
			if err != nil {
				return err
			}
			for i := 4096; i < len(data); i++ {
				data[i] = 0xa5
			}
			return os.WriteFile(h.indexPath(), data, 0o600)
		}, 1},
		{"no table", func(h *Home) error {
			return h.withIndex(context.Background(), func(db *sql.DB) error { _, err := db.Exec(dropIndex); return err })
		}, 1},
		{"an older schema", func(h *Home) error {
			return h.withIndex(context.Background(), func(db *sql.DB) error { _, err := db.Exec(`PRAGMA user_version = 0`); return err })
		}, 0},
		{"gone", func(h *Home) error { return os.Remove(h.indexPath()) }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := openHome(t)
			for i := range 20 {
				name := fmt.Sprintf("vm%02d", i)
				addVM(t, h, testVM(name, epoch))
				age(t, filepath.Join(h.VMDir(name), "vm.json"))
			}
			want := names(t, h)
			h.Close()
			if err := c.damage(h); err != nil {
				t.Fatal(err)
			}
			h.Close()
			wantNames(t, names(t, h), want...)
			h.Close()
			wantNames(t, indexed(t, h), want...)
			aside, err := filepath.Glob(globEscape(h.indexPath()) + ".damaged-*Z")
			if err != nil || len(aside) != c.aside {
				t.Errorf("moved aside: %q, %v", aside, err)
			}
			if err := errors.Join(os.RemoveAll(h.indexPath()), garbage(h.indexPath())); err != nil {
				t.Fatal(err)
			}
			wantNames(t, names(t, h), want...)
			if aside, _ := filepath.Glob(globEscape(h.indexPath()) + ".damaged-*Z"); len(aside) != 1 {
				t.Errorf("after the second time there are %q", aside)
			}
		})
	}
}

// TestNewerIndex lists without an index that it does not understand, and leaves it as it is.
func TestNewerIndex(t *testing.T) {
	h := openHome(t)
	addVM(t, h, testVM("a", epoch))
	err := h.withIndex(t.Context(), func(db *sql.DB) error { _, err := db.Exec(`PRAGMA user_version = 99`); return err })
	if err != nil {
		t.Fatal(err)
	}
	h.Close()
	wantNames(t, names(t, h), "a")
	err = h.withIndex(t.Context(), func(*sql.DB) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "schema 99") {
		t.Errorf("opening it: %v", err)
	}
}

func TestListCheckpoints(t *testing.T) {
	h := openHome(t)
	if _, err := h.ListCheckpoints(t.Context(), "dev"); !errors.Is(err, errs.ErrNotFound) || err.Error() != `no vm "dev"` {
		t.Errorf("of nothing: %v", err)
	}
	addVM(t, h, testVM("dev", epoch))
	if list, err := h.ListCheckpoints(t.Context(), "dev"); err != nil || len(list) != 0 {
		t.Errorf("of a VM without: %v, %v", list, err)
	}
	for i, c := range []checkpoint.Record{{ID: "aaaa0002"}, {ID: "aaaa0001"}, {ID: "bbbb0001", Label: "fresh"}, {ID: "cccc0001", Label: "twice"},
		{ID: "dddd0001", Label: "twice"}, {ID: "eeee0001", Label: "bbbb"}, {ID: "ffff0001", Label: "aaaa0002"}} {
		c.VM, c.CreatedAt = "dev", epoch.Add(time.Duration(i/2)*time.Hour)
		addCheckpoint(t, h, c)
		age(t, filepath.Join(h.CheckpointDir("dev", c.ID), "checkpoint.json"))
	}
	if err := errors.Join(os.Mkdir(h.StagingDir("dev"), 0o700), os.Mkdir(h.CheckpointDir("dev", "12345678"), 0o700),
		os.RemoveAll(h.VMDir("dev"))); err != nil { // the VM is destroyed, its checkpoints stay
		t.Fatal(err)
	}
	for range 2 {
		list, err := h.ListCheckpoints(t.Context(), "dev")
		var ids []string
		for _, c := range list {
			ids = append(ids, c.ID)
			if _, broken := errors.AsType[*manifest.BrokenError](c.Err); broken != (c.ID == "12345678") {
				t.Errorf("checkpoint %s: %v", c.ID, c.Err)
			}
		}
		if err != nil {
			t.Error(err)
		}
		wantNames(t, ids, "12345678", "aaaa0001", "aaaa0002", "bbbb0001", "cccc0001", "dddd0001", "eeee0001", "ffff0001")
	}
	for _, c := range []struct {
		ref, id string
		kind    error
		says    string
	}{
		{ref: "aaaa0001", id: "aaaa0001"},
		{ref: "aaaa0002", id: "aaaa0002"}, // a full id comes before a label
		{ref: "ccc", id: "cccc0001"},
		{ref: "bbbb0", id: "bbbb0001"},
		{ref: "fresh", id: "bbbb0001"},
		{ref: "aaa", kind: errs.ErrUsage, says: "aaaa0001, aaaa0002"},
		{ref: "twice", kind: errs.ErrUsage, says: `cccc0001 ("twice"), dddd0001 ("twice")`},
		{ref: "bbbb", kind: errs.ErrUsage, says: "bbbb0001"}, // one's prefix is another's label
		{ref: "cc", kind: errs.ErrUsage, says: `"cc" is too short for the id of a checkpoint of vm "dev"`},
		{ref: "9", kind: errs.ErrNotFound, says: `no checkpoint "9" of vm "dev"`},
		{ref: "CCC", kind: errs.ErrNotFound},
		{ref: "99999999", kind: errs.ErrNotFound},
		{ref: "", kind: errs.ErrNotFound},
	} {
		got, err := h.FindCheckpoint(t.Context(), "dev", c.ref)
		if got.ID != c.id || !errors.Is(err, c.kind) || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("FindCheckpoint(%q) = %q, %v", c.ref, got.ID, err)
		}
	}
	for _, ref := range []string{"12345678", "123"} {
		_, err := h.FindCheckpoint(t.Context(), "dev", ref)
		if _, ok := errors.AsType[*manifest.BrokenError](err); !ok {
			t.Errorf("FindCheckpoint(%q): %v", ref, err)
		}
	}
	if _, err := h.FindCheckpoint(t.Context(), "prod", "abc"); err == nil || err.Error() != `no vm "prod"` {
		t.Errorf("of no VM: %v", err)
	}
	// The index has a label that the checkpoint does not: what was found is not what was meant.
	err := h.withIndex(t.Context(), func(db *sql.DB) error {
		rows, err := readIndex(t.Context(), db, "dev")
		rows["bbbb0001"] = row{manifest.Stamp{Ino: 1, Size: 1, MtimeNs: 1}, epoch.Format(time.RFC3339Nano) + "\tlie"}
		return errors.Join(err, writeIndex(t.Context(), db, "dev", rows))
	})
	if c, findErr := h.FindCheckpoint(t.Context(), "dev", "lie"); err != nil || !errors.Is(findErr, errs.ErrNotFound) {
		t.Errorf("FindCheckpoint of a lie: %q, %v, %v", c.ID, findErr, err)
	}
	report, err := h.Repair(t.Context())
	if err != nil || !strings.HasPrefix(report, "vms: 0, checkpoints: 8, broken: 1\ncheckpoint \"12345678\"") {
		t.Errorf("Repair = %q, %v", report, err)
	}
	if got := indexed(t, h); len(got) != 7 {
		t.Errorf("after Repair the index has %q", got)
	}
}

// TestListWithoutWriting lists on a file system that takes no more data, and on a read-only one.
func TestListWithoutWriting(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("NOT RUN: mounting needs root")
	}
	dir := t.TempDir()
	run(t, "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", dir)
	t.Cleanup(func() { run(t, "umount", dir) })
	h, err := Open(filepath.Join(dir, "home"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	addVM(t, h, testVM("a", epoch))
	age(t, filepath.Join(h.VMDir("a"), "vm.json"))
	if err := os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, 2<<20), 0o600); err == nil {
		t.Fatal("the file system is not full")
	}
	wantNames(t, names(t, h), "a")
	if err := h.SaveVM(h.VMDir("a"), testVM("a", epoch)); !errors.Is(err, errs.ErrHost) || errs.Hint(err) == "" {
		t.Errorf("saving on a full disk: %v", err)
	}
	wantNames(t, names(t, h), "a") // the old record is whole
	for _, indexed := range []bool{false, true} {
		if err := os.Remove(filepath.Join(dir, "ballast")); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if indexed {
			names(t, h)
		}
		h.Close()
		run(t, "mount", "-o", "remount,ro", dir)
		reopened, err := Open(h.Dir())
		if err != nil {
			t.Fatal(err)
		}
		wantNames(t, names(t, reopened), "a")
		reopened.Close()
		run(t, "mount", "-o", "remount,rw", dir)
	}
}

// TestNewestCheckpoints: the index says which are the newest, and these alone are read.
func TestNewestCheckpoints(t *testing.T) {
	h := openHome(t)
	addVM(t, h, testVM("dev", epoch))
	ids := []string{"00000001", "00000002", "00000003", "00000004"}
	add := func(id string, at time.Time) {
		addCheckpoint(t, h, checkpoint.Record{ID: id, VM: "dev", CreatedAt: at})
		age(t, checkpoint.ManifestPath(h.CheckpointDir("dev", id)))
	}
	for i, id := range ids {
		add(id, epoch.Add(time.Duration(i)*time.Second))
	}
	if _, err := h.CheckpointLabels(t.Context(), "dev"); err != nil { // which fills the index
		t.Fatal(err)
	}
	add(ids[0], epoch.Add(time.Hour)) // as no noid changes it
	broken := checkpoint.ManifestPath(h.CheckpointDir("dev", ids[2]))
	if err := errors.Join(os.Chmod(broken, 0o600), os.WriteFile(broken, []byte("{"), 0o600)); err != nil {
		t.Fatal(err)
	}
	list, err := h.NewestCheckpoints(t.Context(), "dev", 2)
	if err != nil || len(list) != 2 || list[0].ID != ids[2] || list[0].Err == nil || list[1].ID != ids[3] || list[1].Err != nil {
		t.Errorf("the newest two are %v, %v", list, err)
	}
	if list, err := h.NewestCheckpoints(t.Context(), "dev", 100); err != nil || len(list) != len(ids) || !list[1].CreatedAt.Equal(epoch.Add(time.Hour)) && !list[0].CreatedAt.Equal(epoch.Add(time.Hour)) {
		t.Errorf("all are %v, %v", list, err)
	}
}

// TestIndexFallsBehind: a few new checkpoints of many are listed without writing the index anew, many are not.
func TestIndexFallsBehind(t *testing.T) {
	h := openHome(t)
	addVM(t, h, testVM("dev", epoch))
	made := 0
	listed := func(more int) (inIndex int) {
		for range more {
			made++
			id := fmt.Sprintf("%08x", made)
			addCheckpoint(t, h, checkpoint.Record{ID: id, VM: "dev", CreatedAt: epoch.Add(time.Duration(made) * time.Second)})
			age(t, checkpoint.ManifestPath(h.CheckpointDir("dev", id)))
		}
		list, err := h.CheckpointLabels(t.Context(), "dev")
		if err != nil || len(list) != made {
			t.Fatalf("%d of %d are listed: %v", len(list), made, err)
		}
		err = h.withIndex(t.Context(), func(db *sql.DB) error {
			known, err := readIndex(t.Context(), db, "dev")
			inIndex = len(known)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return inIndex
	}
	for _, c := range []struct{ more, want int }{{200, 200}, {2, 200}, {10, 212}} {
		if got := listed(c.more); got != c.want {
			t.Errorf("after %d more the index has %d rows, want %d", c.more, got, c.want)
		}
	}
}
