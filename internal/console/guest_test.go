package console

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"noid/internal/errs"
	"noid/internal/untrusted"
	"noid/internal/vmm"
)

// startGuest boots a real guest in QEMU without KVM, its console wired as a driver does it.
func startGuest(t *testing.T) *bridge {
	t.Helper()
	kernel, initrd, rootfs := os.Getenv("NOID_TEST_KERNEL"), os.Getenv("NOID_TEST_INITRD"), os.Getenv("NOID_TEST_ROOTFS")
	if kernel == "" || initrd == "" || rootfs == "" {
		t.Skip("NOT RUN: NOID_TEST_KERNEL, NOID_TEST_INITRD and NOID_TEST_ROOTFS name no guest")
	}
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		t.Skip("NOT RUN: no qemu-system-x86_64")
	}
	b := &bridge{dir: consoleDir(t)}
	disk := filepath.Join(b.dir, vmm.RootfsFile)
	if out, err := exec.Command("cp", "--sparse=always", "--reflink=auto", rootfs, disk).CombinedOutput(); err != nil {
		t.Fatalf("copying the disk: %v: %s", err, out)
	}
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Fatal(err)
	}
	child, err := vmm.Spawn(b.dir, []string{qemu,
		"-M", "q35,sata=off,smbus=off,usb=off,graphics=off,vmport=off,i8042=off", "-accel", "tcg", "-cpu", "max", "-m", "256",
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio",
		"-kernel", kernel, "-initrd", initrd,
		"-append", "console=ttyS0 reboot=t panic=-1 mitigations=off audit=0 random.trust_cpu=on",
		"-blockdev", "driver=file,node-name=f0,filename=" + vmm.RootfsFile, "-blockdev", "driver=raw,node-name=d0,file=f0",
		"-device", "virtio-blk-pci,drive=d0"}, "qemu.log", &vmm.Machine{CPUs: 1, MemMiB: 256, KernelPath: kernel, InitrdPath: initrd}, vmm.Access{})
	if err != nil {
		t.Fatal(err)
	}
	b.process = child.Process
	t.Cleanup(func() {
		child.Abort()
		if t.Failed() {
			data, _ := os.ReadFile(logPath(b.dir))
			t.Logf("the console's end: %q", data[max(0, len(data)-3000):])
			t.Logf("qemu: %s", untrusted.Tail(filepath.Join(b.dir, "qemu.log"), 4096))
		}
	})
	return b
}

// One guest serves all of it, in this order: the first Exec waits for the boot, the last ones end the VM.
func TestGuest(t *testing.T) {
	b := startGuest(t)
	began := time.Now()
	if out, code := b.run(t, ExecOptions{}, "uname"); out != "Linux\n" || code != 0 {
		t.Fatalf("uname gave %q, %d", out, code)
	}
	t.Logf("the first command's end came %v after the start", time.Since(began).Round(time.Millisecond))

	for _, c := range execCases() {
		t.Run(c.name, func(t *testing.T) {
			began := time.Now()
			out, code := b.run(t, ExecOptions{}, c.argv...)
			if out != c.out || code != c.code {
				t.Errorf("got %d bytes %.200q, status %d; want %d bytes %.200q, status %d", len(out), out, code, len(c.out), c.out, c.code)
			}
			t.Logf("took %v", time.Since(began).Round(time.Millisecond))
		})
	}
	t.Run("kernel messages", func(t *testing.T) {
		out, code := b.run(t, ExecOptions{}, "sh", "-c",
			`i=0; while [ $i -lt 20 ]; do echo "<1>a message" >/dev/kmsg; echo line $i; i=$((i+1)); done`)
		if code != 0 || strings.Contains(out, "message") || strings.Count(out, "\n") != 20 || !strings.HasSuffix(out, "line 19\n") {
			t.Errorf("got %q, %d", out, code)
		}
	})
	t.Run("timeout", func(t *testing.T) {
		for what, script := range stubborn {
			out, code := b.run(t, ExecOptions{Timeout: time.Second}, "sh", "-c", script)
			pid, _, whole := strings.Cut(out, "\n")
			if code != TimeoutCode || !whole {
				t.Errorf("%s: got %.100q, %d", what, out, code)
			}
			// A zombie is the guest's init's business.
			if out, code := b.run(t, ExecOptions{}, "sh", "-c", "sleep 1; echo again; grep -v ' Z ' /proc/$0/stat", pid); out != "again\n" && !strings.HasSuffix(out, "No such file or directory\n") || code == 0 {
				t.Errorf("%s: afterwards got %q, %d", what, out, code)
			}
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := writerFunc(func(data []byte) (int, error) { cancel(); return len(data), nil })
		_, err := Exec(ctx, b.dir, []string{"sh", "-c", "echo x; exec sleep 654"}, ExecOptions{Stdout: w, Alive: b.alive})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if out, _ := b.run(t, ExecOptions{}, "sh", "-c", "cat /proc/[0-9]*/stat | grep '(sleep)'"); out != "" {
			t.Errorf("the command still runs: %q", out)
		}
	})
	t.Run("attach", func(t *testing.T) {
		var out, msg screen
		err := Attach(t.Context(), b.dir, AttachOptions{In: strings.NewReader("echo $((40+2))\n"), Out: &out, Err: &msg, Alive: b.alive})
		if err != nil || !strings.Contains(out.String(), "\n42\r\n") {
			t.Errorf("got %v, %q, %q", err, out.String(), msg.String())
		}
		if out, code := b.run(t, ExecOptions{}, "echo", "ok"); out != "ok\n" || code != 0 {
			t.Errorf("afterwards got %q, %d", out, code)
		}
	})
	t.Run("logs", func(t *testing.T) {
		var out bytes.Buffer
		s := untrusted.NewWriter(&out)
		if err := CopyLog(t.Context(), s, logPath(b.dir), -1, false, b.alive); err != nil || s.Flush() != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), "Linux version") || strings.ContainsAny(out.String(), "\x1b\r\x00") {
			t.Error("not what the guest wrote, or not clean")
		}
	})
	t.Run("the VM dies", func(t *testing.T) {
		w := writerFunc(func(data []byte) (int, error) { b.process.Kill(t.Context()); return len(data), nil })
		_, err := Exec(t.Context(), b.dir, []string{"sh", "-c", "echo x; sleep 600"}, ExecOptions{Stdout: w, Alive: b.alive})
		if !errors.Is(err, errs.ErrState) {
			t.Errorf("got %v", err)
		}
		if err := CopyLog(t.Context(), io.Discard, logPath(b.dir), -1, true, b.alive); err != nil {
			t.Errorf("following a dead VM's log: %v", err)
		}
	})
}
