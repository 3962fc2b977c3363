package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// A machine is where and with what the numbers were measured.
type machine struct {
	CPU         string `json:"cpu"`
	Cores       int    `json:"cores"`
	Kernel      string `json:"kernel"`
	FileSystem  string `json:"file_system"`
	Noid        string `json:"noid"`
	Firecracker string `json:"firecracker,omitempty"`
	QEMU        string `json:"qemu,omitempty"`
	Lab         bool   `json:"lab,omitempty"` // inside the KVM lab, whose processor is emulated
	Load        string `json:"load"`          // of the host when the run began, 1, 5 and 15 minutes
}

func (m machine) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "- machine: %s, %d cores, Linux %s, load %s at the beginning", m.CPU, m.Cores, m.Kernel, m.Load)
	if m.Lab {
		b.WriteString("; this is the KVM lab, whose processor QEMU emulates")
	}
	fmt.Fprintf(&b, "\n- file system: %s\n- noid %s", m.FileSystem, m.Noid)
	if m.Firecracker != "" {
		b.WriteString("; Firecracker " + m.Firecracker)
	}
	if m.QEMU != "" {
		b.WriteString("; QEMU " + m.QEMU)
	}
	return b.String() + "\n"
}

func thisMachine(ctx context.Context, noid string) machine {
	m := machine{CPU: "unknown", Cores: runtime.NumCPU(), Lab: os.Getenv("NOID_LAB") != ""}
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if match := regexp.MustCompile(`(?m)^model name\s*: (.*)$`).FindSubmatch(info); match != nil {
			m.CPU = string(match[1])
		}
	}
	m.Kernel = firstWord("/proc/sys/kernel/osrelease")
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load = strings.Join(strings.Fields(string(load))[:3], " ")
	}
	number := regexp.MustCompile(`\d+\.\d+(\.\d+)?\S*`)
	version := func(name string, args ...string) string {
		out, _ := exec.CommandContext(ctx, name, args...).Output()
		return number.FindString(string(out))
	}
	m.Noid, m.Firecracker, m.QEMU = version(noid, "version"), version(firecrackerBinary(), "--version"), version(qemuBinary, "--version")
	return m
}

func firstWord(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(data))
}

// loopSize is how large a file system of the bench's own may become, in bytes. Its file is sparse.
const loopSize = 40 << 30

// fileSystem makes dir a file system of kind (btrfs, xfs or ext4) in a file of its own, where that is possible, and
// returns what to say of dir's file system.
func (b *bench) fileSystem(ctx context.Context, dir, kind string) (string, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	why := ""
	if os.Getuid() != 0 {
		why = "not root"
	} else if _, err := exec.LookPath("mkfs." + kind); err != nil {
		why = "no mkfs." + kind
	}
	if why != "" {
		return fmt.Sprintf("%s as it is under the temporary directory (%s, so none of its own)", kindOf(dir), why), nil
	}
	image := dir + ".image"
	f, err := os.Create(image)
	if err != nil {
		return "", err
	}
	size := int64(loopSize)
	if free, err := freeBytes(image); err == nil && size > free*9/10 { // in the KVM lab that is memory
		size = free * 9 / 10
	}
	if err := f.Truncate(size); err != nil {
		return "", err
	}
	f.Close()
	if out, err := exec.CommandContext(ctx, "mkfs."+kind, image).CombinedOutput(); err != nil {
		return "", fmt.Errorf("mkfs.%s: %w: %s", kind, err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop,noatime", image, dir).CombinedOutput(); err != nil {
		return fmt.Sprintf("%s as it is under the temporary directory (no %s mounts here: %s)", kindOf(filepath.Dir(dir)), kind, strings.TrimSpace(string(out))), nil
	}
	b.later(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			b.failed("unmounting", fmt.Errorf("%w: %s", err, out))
			exec.Command("umount", "-l", dir).Run()
		}
	})
	return fmt.Sprintf("%s in a sparse file on %s", kind, kindOf(filepath.Dir(dir))), nil
}

func freeBytes(path string) (int64, error) {
	var st unix.Statfs_t
	err := unix.Statfs(path, &st)
	return int64(st.Bavail) * st.Bsize, err
}

// kindOf names the file system that path is on.
func kindOf(path string) string {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return "unknown"
	}
	for magic, name := range map[int64]string{0x9123683e: "btrfs", 0x58465342: "xfs", 0xef53: "ext4", 0x01021994: "tmpfs", 0x794c7630: "overlay"} {
		if int64(st.Type) == magic {
			return name
		}
	}
	return fmt.Sprintf("file system %#x", st.Type)
}

// reflink makes dst a clone of src, or a sparse copy where the file system does not clone.
func reflink(ctx context.Context, dst, src string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(dst)
	if err != nil {
		return err
	}
	defer out.Close()
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) == nil {
		return nil
	}
	if said, err := exec.CommandContext(ctx, "cp", "--reflink=auto", "--sparse=always", src, dst).CombinedOutput(); err != nil {
		return fmt.Errorf("cp: %w: %s", err, said)
	}
	return nil
}

// flush writes back what the rows before have left to write, so that it does not fall into a measurement.
func flush(dir string) {
	if f, err := os.Open(dir); err == nil {
		unix.Syncfs(int(f.Fd()))
		f.Close()
	}
}
