package setup

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"noid/internal/errs"
	"noid/internal/setup/debian"
	"noid/internal/setup/distro"
)

// bare is a planner for a host of that distribution with nothing on it. metaPackage is what can be fetched there.
func bare(t *testing.T, release, metaPackage string, root bool) *planner {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("distro/testdata", release))
	if err != nil {
		t.Fatal(err)
	}
	p := &planner{
		Options:  options(t, func(string) (string, error) { return "", errors.New("not there") }),
		Plan:     Plan{release: distro.Parse(string(text))},
		installs: root && metaPackage != "",
		hasTool:  func(string, distro.Need) bool { return false },
		kernel:   func(debian.Options) string { return "" },
		fetches:  func(distro.Release) string { return metaPackage },
	}
	p.CheckImage = func(context.Context, string) error { return errs.New(errs.ErrHost, "no registry answers") }
	return p
}

// TestPlanImage: where a registry answers, VMs are made of an image, unless the user has or wants a root file system.
func TestPlanImage(t *testing.T) {
	const pull = "pull the image "
	for _, tt := range []struct {
		files      Files
		configured string // rootfs
		want       string // a step
	}{
		{Files{}, "", pull + DefaultImage + " and make it the default"},
		{Files{Image: "mine:1"}, "", pull + "mine:1 and make it the default"},
		{Files{Image: NoImage}, "", "make a small root file system"},
		{Files{}, "/none", "make a small root file system"}, // a file that was lost is made again, not replaced by an image
	} {
		p := bare(t, "debian-12", "linux-image-cloud-amd64", true)
		p.CheckImage = func(context.Context, string) error { return nil }
		p.Config.Rootfs = tt.configured
		plan, err := p.plan(t.Context(), "qemu", tt.files)
		if err != nil {
			t.Fatal(err)
		}
		if lines := plan.Lines(); !slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, tt.want) }) {
			t.Errorf("%+v: %q", tt.files, lines)
		}
	}
	p := bare(t, "debian-12", "linux-image-cloud-amd64", true)
	if _, err := p.plan(t.Context(), "qemu", Files{Image: "mine:1"}); !errors.Is(err, errs.ErrHost) {
		t.Errorf("an image that cannot be had: %v", err)
	}
}

// TestPlanOfBareHosts: what setup does on hosts that have nothing, and the one line for what it leaves to the user.
func TestPlanOfBareHosts(t *testing.T) {
	sudo := "sudo "
	if os.Geteuid() == 0 {
		sudo = ""
	}
	for _, tt := range []struct {
		release, fetches string
		root             bool
		steps            []string // their beginnings
		line             string
	}{
		{"debian-12", "linux-image-cloud-amd64", true, []string{"install qemu-system-", "download the kernel of package linux-image-cloud-amd64 to ",
			"install e2fsprogs (it makes", "make a small root file system of package busybox-static in "}, ""},
		{"ubuntu-24.04", "linux-image-virtual", false, []string{"download the kernel of package linux-image-virtual to "},
			"apt-get install --no-install-recommends QEMU e2fsprogs"},
		{"fedora-42", "", true, nil, "dnf install QEMU kernel-core e2fsprogs busybox"},
		{"arch", "", false, nil, "pacman -S QEMU linux e2fsprogs busybox"},
		{"alpine-3.21", "", false, nil, "apk add QEMU linux-virt e2fsprogs e2fsprogs-extra busybox-static"},
		{"void", "", true, nil, "install QEMU, a kernel, e2fsprogs, a static busybox with this system's package manager"},
	} {
		p := bare(t, tt.release, tt.fetches, tt.root)
		plan, err := p.plan(t.Context(), "qemu", Files{})
		if err != nil {
			t.Fatal(err)
		}
		lines := plan.Lines()
		for i, want := range tt.steps {
			if i >= len(lines) || !strings.HasPrefix(lines[i], want) || !strings.HasSuffix(lines[i], ")") {
				t.Errorf("%s: step %d is not %q: %q", tt.release, i, want, lines)
			}
		}
		err = plan.lacks()
		if len(plan.Steps) != len(tt.steps) || (err == nil) != (tt.line == "") {
			t.Errorf("%s: %q, %v", tt.release, lines, err)
		}
		qemu := strings.Join(p.release.Packages(distro.QEMU), " ")
		want := strings.Replace(tt.line, "QEMU", map[bool]string{true: "QEMU", false: qemu}[qemu == ""], 1)
		if !strings.HasPrefix(want, "install ") {
			want = sudo + want
		}
		if tt.line != "" && (!errors.Is(err, errs.ErrHost) || errs.Hint(err) != want) {
			t.Errorf("%s: %v, hint %q, want %q", tt.release, err, errs.Hint(err), want)
		}
	}
}

// TestPlanWithFiles: files that are named do where nothing can be fetched, and are looked at before anything is done.
func TestPlanWithFiles(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, files := range []Files{{Kernel: text}, {Rootfs: text}, {Kernel: filepath.Join(dir, "none")}} {
		p := bare(t, "void", "", false)
		if plan, err := p.plan(t.Context(), "firecracker", files); err == nil {
			t.Errorf("%+v: %q", files, plan.Lines())
		}
	}
	p := bare(t, "void", "", false)
	p.Config.Image = "debian:12" // VMs are made of that, not of a root file system
	p.kernel = func(debian.Options) string { return "/boot/vmlinuz-1" }
	plan, err := p.plan(t.Context(), "firecracker", Files{})
	if err != nil {
		t.Fatal(err)
	}
	if got := plan.Steps[0].Do; got != "use the kernel /boot/vmlinuz-1" || len(plan.Lines()) != 1 {
		t.Errorf("the host's kernel: %q", got)
	}
}

// TestRunRepeated: a setup that fails in the middle goes on where it was when it is repeated, and then has nothing to
// do. It makes a real root file system.
func TestRunRepeated(t *testing.T) {
	if !debian.HasBusybox() {
		t.Skip("NOT RUN: no static busybox")
	}
	if _, err := debian.FindTool("debugfs", distro.E2fsprogs); err != nil {
		t.Skip("NOT RUN: ", err)
	}
	p := bare(t, "debian-12", "linux-image-cloud-amd64", true)
	p.busybox, p.hasTool = true, func(string, distro.Need) bool { return true }
	failed := errors.New("no network")
	tries := 0
	plan, err := p.plan(t.Context(), "qemu", Files{})
	if err != nil {
		t.Fatal(err)
	}
	plan.Steps[0].run = func(context.Context) error { tries++; return failed } // the kernel's
	for range 2 {
		if err := Run(t.Context(), p.Options, plan, ""); !errors.Is(err, failed) {
			t.Errorf("got %v", err)
		}
	}
	plan.Steps[0].run = func(context.Context) error { tries++; return nil }
	if err := Run(t.Context(), p.Options, plan, ""); err != nil || tries != 3 {
		t.Errorf("%d tries, %v", tries, err)
	}
	image := debian.FindRootfs(p.debian())
	if image == "" {
		t.Fatal("there is no root file system")
	}
	again := bare(t, "debian-12", "linux-image-cloud-amd64", true)
	again.Options, again.Config.Rootfs = p.Options, image
	again.Config.Kernel = os.Getenv("NOID_TEST_KERNEL")
	plan, err = again.plan(t.Context(), "firecracker", Files{})
	if want := 1; os.Getenv("NOID_TEST_KERNEL") != "" {
		want = 0
		if diff := cmp.Diff(want, len(plan.Steps)); diff != "" || err != nil {
			t.Errorf("%q, %v", plan.Lines(), err)
		}
	}
}
