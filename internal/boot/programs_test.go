package boot

import (
	"bytes"
	"debug/elf"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"testing/fstest"

	"noid/internal/errs"
)

func TestPrograms(t *testing.T) {
	if !HasPrograms() {
		t.Fatal("the guest's programs are not built: run 'make programs', then go test again")
	}
	for _, name := range []string{"noid-init", "noid-agent"} {
		for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
			data, err := program(name, arch)
			if err != nil {
				t.Fatal(err)
			}
			f, err := elf.NewFile(bytes.NewReader(data))
			if err != nil || f.Machine != machine {
				t.Fatalf("%s for %s: %v, %v", name, arch, f, err)
			}
			for _, p := range f.Progs {
				if p.Type == elf.PT_INTERP {
					t.Errorf("%s for %s needs a dynamic linker, which an initramfs has not", name, arch)
				}
			}
			const limit = 4608 << 10 // every guest reads it at boot and keeps the agent in its memory
			if len(data) > limit {
				t.Errorf("%s for %s has %d bytes, more than %d", name, arch, len(data), limit)
			}
		}
		if _, err := program(name, "riscv64"); !errors.Is(err, errs.ErrHost) {
			t.Errorf("%s of another architecture: got %v, want ErrHost", name, err)
		}
	}
}

// TestProgramsAreCurrent builds them again, elsewhere, and compares: 'go test' without make embeds what the last make
// built.
func TestProgramsAreCurrent(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("../../scripts/programs.sh", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	built, err := filepath.Glob(filepath.Join(dir, "*.gz"))
	if err != nil || len(built) != 4 {
		t.Fatalf("programs.sh built %q, %v", built, err)
	}
	for _, path := range built {
		fresh, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(path)
		if got, err := fs.ReadFile(programs, "programs/"+name); err != nil || !bytes.Equal(got, fresh) {
			t.Errorf("the embedded %s is not what the sources build now (%v): run 'make programs', then go test again", name, err)
		}
	}
}

// TestWithoutPrograms is a noid that a plain 'go build' made.
func TestWithoutPrograms(t *testing.T) {
	all := programs
	programs = fstest.MapFS{}
	defer func() { programs = all }()
	if HasPrograms() {
		t.Error("HasPrograms")
	}
	cache := t.TempDir()
	_, err := Initramfs(cache, kernel(t), true)
	if !errors.Is(err, errs.ErrHost) || err.Error() != "noid was built without noid-init for arm64" {
		t.Errorf("got %v, want ErrHost", err)
	}
	if got, want := errs.Hint(err), "build noid with 'make build'"; got != want {
		t.Errorf("hint %q, want %q", got, want)
	}
	if left, _ := filepath.Glob(filepath.Join(cache, "*")); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}
