package debian

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"noid/internal/boot"
	"noid/internal/errs"
	"noid/internal/setup/distro"
)

func TestRun(t *testing.T) {
	out, err := runInput(t.Context(), t.TempDir(), "in", "sh", "-c", "cat; echo $LC_ALL")
	if err != nil || out != "inC\n" {
		t.Errorf("got %q, %v", out, err)
	}
	_, err = run(t.Context(), t.TempDir(), "sh", "-c", "echo one; echo two >&2; exit 3")
	if err == nil || err.Error() != "sh: exit status 3: two" {
		t.Errorf("got error %v", err)
	}
	out, err = run(t.Context(), t.TempDir(), "head", "-c", "3000000", "/dev/zero")
	if err != nil || len(out) != maxOutput {
		t.Errorf("got %d bytes, %v, want %d", len(out), err, maxOutput)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := run(ctx, t.TempDir(), "sleep", "60"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
}

func TestParseDepends(t *testing.T) {
	const out = `linux-image-6.8.0-31-generic
  PreDepends: linux-base
 |Depends: linux-modules-6.8.0-31-generic
  Depends: <linux-initramfs-tool>
    dracut
  Depends: linux-firmware
  Recommends: linux-image-9.9.9
`
	got := parseDepends(out, kernelPackage())
	if diff := cmp.Diff([]string{"linux-modules-6.8.0-31-generic"}, got); diff != "" {
		t.Error(diff)
	}
	if all := parseDepends(out, regexp.MustCompile("")); len(all) != 3 {
		t.Errorf("got %q, want three packages", all)
	}
}

func TestMetaPackage(t *testing.T) {
	for _, tt := range []struct{ release, arch, want string }{
		{"ID=debian\nVERSION_ID=\"12\"\n", "amd64", "linux-image-cloud-amd64"},
		{"ID=debian\n", "arm64", "linux-image-cloud-arm64"},
		{"NAME=\"Linux Mint\"\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", "amd64", "linux-image-virtual"},
		{"ID=fedora\n", "amd64", ""},
		{"ID=debian\n", "riscv64", ""},
		{"", "amd64", ""},
	} {
		if got := metaPackage(distro.Parse(tt.release), tt.arch); got != tt.want {
			t.Errorf("metaPackage(%q, %s) = %q, want %q", tt.release, tt.arch, got, tt.want)
		}
	}
}

func TestCompareVersions(t *testing.T) {
	ordered := []string{"vmlinuz-5.10.0", "vmlinuz-6.1.0-9-cloud-amd64", "vmlinuz-6.1.0-42-cloud-amd64", "vmlinuz-6.1.0-42-cloud-amd64.1", "vmlinuz-6.12.1"}
	for i, a := range ordered {
		for j, b := range ordered {
			if got := compareVersions(a, b); (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("compareVersions(%s, %s) = %d", a, b, got)
			}
		}
	}
}

func TestUsableRefuses(t *testing.T) {
	text := filepath.Join(t.TempDir(), "vmlinuz-1")
	if err := os.WriteFile(text, []byte("no kernel\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := usable(text); err == nil || !strings.Contains(err.Error(), "a text file") {
		t.Errorf("a text file: got %v", err)
	}
	var said []string
	o := Options{Progress: func(line string) { said = append(said, line) }}
	if got := newestKernel(o, text); got != "" || len(said) != 1 {
		t.Errorf("newestKernel = %q, said %q", got, said)
	}
}

// TestRootfs makes the real image where the host has the tools, and reads it with e2fsprogs.
func TestRootfs(t *testing.T) {
	if !isStatic("/bin/busybox") {
		t.Skip("this host has no static busybox")
	}
	debugfs, err := FindTool("debugfs", distro.E2fsprogs)
	if err != nil {
		t.Skip(err)
	}
	o := Options{ImagesDir: filepath.Join(t.TempDir(), "images")}
	path, err := Rootfs(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := boot.CheckExt4(path); err != nil {
		t.Error(err)
	}
	for file, want := range map[string][]string{
		"/etc/inittab":  {"Mode:  0644", "User:     0   Group:     0", "Type: regular"},
		"/sbin/init":    {"User:     0   Group:     0", "Type: symlink", `Fast link dest: "/bin/busybox"`},
		"/tmp":          {"Mode:  01777", "Type: directory"},
		"/root":         {"Mode:  0700"},
		"/etc/shadow":   {"Mode:  0600"},
		"/bin/busybox":  {"Mode:  0755", "User:     0   Group:     0"},
		"<8>":           {"Type: regular"}, // the journal
		"/usr/bin/env":  {"Type: symlink"},
		"/lost+found/.": {"User:     0   Group:     0"},
	} {
		out, err := exec.Command(debugfs, "-R", "stat "+file, path).Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if !strings.Contains(string(out), w) {
				t.Errorf("%s: no %q in\n%s", file, w, out)
			}
		}
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Rootfs(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("a second call made it anew (%v)", err)
	}
	if left, _ := filepath.Glob(filepath.Join(o.ImagesDir, ".setup-*")); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestRootfsInterrupted(t *testing.T) {
	if !isStatic("/bin/busybox") {
		t.Skip("this host has no static busybox")
	}
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	o := Options{ImagesDir: dir, Progress: func(string) { cancel() }}
	if _, err := Rootfs(ctx, o); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != ".setup.lock" {
		t.Errorf("left behind %v, %v, want the lock alone", entries, err)
	}
}

// TestFetchWithoutRoom refuses what cannot fit before apt, which would say that there are no packages, is asked.
func TestFetchWithoutRoom(t *testing.T) {
	a := &apt{work: t.TempDir()}
	_, err := a.fetch(t.Context(), Options{}, 1<<60, func() ([]string, error) {
		t.Error("the packages are looked up")
		return nil, errors.New("no packages found")
	})
	if !errors.Is(err, errs.ErrHost) || !strings.Contains(err.Error(), "no space in ") || errs.Hint(err) == "" {
		t.Errorf("%v, hint %q", err, errs.Hint(err))
	}
}

// TestProxy: apt goes through the proxy that the environment names.
func TestProxy(t *testing.T) {
	asked := make(chan string, 1)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case asked <- r.URL.Host + r.Host:
		default:
		}
		http.Error(w, "not here", http.StatusNotFound)
	}))
	defer proxy.Close()
	for _, name := range []string{"http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"} {
		t.Setenv(name, proxy.URL)
	}
	t.Setenv("no_proxy", "")
	a, err := newApt(t.TempDir())
	if err != nil {
		t.Skip("NOT RUN: ", err)
	}
	if err := a.refresh(t.Context(), Options{}); err == nil {
		t.Error("package lists came from a proxy that has none")
	}
	select {
	case host := <-asked:
		if host == "" || strings.HasPrefix(proxy.URL, "http://"+host) {
			t.Errorf("the proxy was asked for %q", host)
		}
	default:
		t.Error("the proxy was not asked")
	}
	if hint := InstallHint(distro.Parse("ID=debian"), distro.Btrfs); os.Geteuid() != 0 && hint != "sudo -E apt-get install --no-install-recommends btrfs-progs" {
		t.Errorf("the hint is %q", hint)
	}
}
