package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/lazy"
)

// The limits of a VM's hardware.
const (
	MinCPUs   = 1
	MaxCPUs   = 32      // Firecracker's MAX_SUPPORTED_VCPUS; QEMU could do more
	MinMemMiB = 64      // below, a distribution's kernel and initramfs do not fit
	MaxMemMiB = 1 << 20 // 1 TiB: more is a slip of the keyboard
	// MaxDiskMiB is 8 TiB: ext4 on the host has no file of 16.
	MinDiskMiB, MaxDiskMiB = 256, 8 << 20
)

// maxBootArgs leaves room for the driver's own arguments: x86 Linux takes 2048 bytes in all (COMMAND_LINE_SIZE).
const maxBootArgs = 1024

// key is one setting. clean checks a value as text and gives it its final form, without looking at the file system.
type key struct {
	name   string
	about  string // what it is and what holds where it is not set, for help
	clean  func(string) (string, error)
	store  func(*Config, string)
	isInt  bool // an integer in the file
	isPath bool // made absolute, and must exist, when set
	isExec bool // and must be an executable
}

// keys is all settings, sorted by name.
var keys = []key{
	{name: "auto", about: "when a new VM makes checkpoints by itself: exec, before each command, a time such as 5m, or off; default off",
		clean: ParseAuto, store: func(c *Config, v string) { c.Auto = v }},
	{name: "auto_keep", about: "how many of the checkpoints that it made by itself a VM keeps; default 100",
		isInt: true, clean: cleanInt(parseKeep), store: func(c *Config, v string) { c.AutoKeep, _ = strconv.Atoi(v) }},
	{name: "boot_args", about: "for the kernel's command line; default none",
		clean: cleanBootArgs, store: func(c *Config, v string) { c.BootArgs = v }},
	{name: "cpus", about: "virtual CPUs of a new VM, 1 to 32; default 1",
		isInt: true, clean: cleanInt(ParseCPUs), store: func(c *Config, v string) { c.CPUs, _ = strconv.Atoi(v) }},
	{name: "disk", about: "disk of a new VM that is made from an image, in MiB, or with a unit such as 20G; default 8G",
		isInt: true, clean: cleanInt(ParseDisk), store: func(c *Config, v string) { c.DiskMiB, _ = strconv.Atoi(v) }},
	{name: "driver", about: "firecracker or qemu; default the one that runs guests best here",
		clean: cleanWord("driver", "firecracker", "qemu"), store: func(c *Config, v string) { c.Driver = v }},
	{name: "firecracker", about: "path of Firecracker's binary; default from PATH, then /usr/local/bin",
		isPath: true, isExec: true, clean: cleanPath, store: func(c *Config, v string) { c.Firecracker = v }},
	{name: "image", about: "the image of a new VM, such as debian:12; it comes before rootfs; default none",
		clean: cleanImage, store: func(c *Config, v string) { c.Image = v }},
	{name: "kernel", about: "path of the kernel, or its name in 'noid kernel ls'; default none, 'noid setup' sets it",
		isPath: true, clean: cleanPath, store: func(c *Config, v string) { c.Kernel = v }},
	{name: "mem", about: "memory of a new VM, in MiB, or with a unit such as 2G; default 128, of an image 1024",
		isInt: true, clean: cleanInt(ParseMiB), store: func(c *Config, v string) { c.MemMiB, _ = strconv.Atoi(v) }},
	{name: "net", about: "network of a new VM: none, default, open or a profile of the table [network]; default 'default' where this host can",
		clean: cleanNet, store: func(c *Config, v string) { c.Net = v }},
	{name: "qemu", about: "path of QEMU's binary; default from PATH, then /usr/local/bin",
		isPath: true, isExec: true, clean: cleanPath, store: func(c *Config, v string) { c.QEMU = v }},
	{name: "registry_mirror", about: "registry to ask before Docker Hub, as [http://]HOST[:PORT]; default none",
		clean: cleanMirror, store: func(c *Config, v string) { c.RegistryMirror = v }},
	{name: "rootfs", about: "path of the root file system, an ext4 image; default none, 'noid setup' sets it",
		isPath: true, clean: cleanPath, store: func(c *Config, v string) { c.Rootfs = v }},
	{name: "storage", about: "plain or btrfs: where disks and checkpoints lie; default plain",
		clean: cleanWord("way to keep the storage", "plain", "btrfs"), store: func(c *Config, v string) { c.Storage = v }},
	{name: "warm", about: "on or off: restore new VMs from templates; default on",
		clean: cleanSwitch, store: func(c *Config, v string) { c.Warm = v }},
}

// Keys returns the names of all settings, sorted.
func Keys() []string {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.name
	}
	return names
}

// About says what a key is, and what holds where it is not set.
func About(name string) string {
	k, _ := lookup(name)
	return k.about
}

func lookup(name string) (key, error) {
	for _, k := range keys {
		if k.name == name {
			return k, nil
		}
	}
	err := errs.New(errs.ErrUsage, "unknown key %.80q", name)
	return key{}, suggest(err, name, Keys(), "the keys are "+strings.Join(Keys(), ", "))
}

// suggest hints at the nearest of words, or gives the hint otherwise.
func suggest(err error, word string, words []string, otherwise string) error {
	if near := Nearest(word, words); near != "" {
		otherwise = fmt.Sprintf("did you mean %q?", near)
	}
	return errs.WithHint(err, otherwise)
}

// ParseCPUs reads a number of virtual CPUs, 1 to 32, or returns errs.ErrUsage.
func ParseCPUs(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < MinCPUs || n > MaxCPUs {
		return 0, usage("%q is not a number of cpus from %d to %d", s, MinCPUs, MaxCPUs)
	}
	return n, nil
}

var memSize = lazy.Regexp(`^([0-9]{1,9})(?i:(m|g|t)(?:i?b)?)?$`)

// ParseMiB reads a size of memory: MiB as a bare number ("512"), or with a unit ("512M", "2G", "2GiB"; always powers of
// 1024). What is no size, or is less than 64 MiB or more than 1 TiB, is errs.ErrUsage.
func ParseMiB(s string) (int, error) { return parseSize(s, MinMemMiB, MaxMemMiB) }

// ParseDisk is ParseMiB for the size of a disk: 256 MiB to 8 TiB.
func ParseDisk(s string) (int, error) { return parseSize(s, MinDiskMiB, MaxDiskMiB) }

func parseSize(s string, least, most int) (int, error) {
	m := memSize().FindStringSubmatch(s)
	if m == nil {
		return 0, errs.WithHint(usage("%q is not a size", s), "write MiB as 512, or 512M, or 2G")
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return 0, usage("%q is not a size", s)
	}
	switch strings.ToLower(m[2]) {
	case "g":
		n <<= 10
	case "t":
		n <<= 20
	}
	if n < least || n > most {
		return 0, errs.WithHint(usage("%s is not between %d MiB and %d MiB", s, least, most), "a bare number counts MiB; write 2G for 2 GiB")
	}
	return n, nil
}

func cleanInt(parse func(string) (int, error)) func(string) (string, error) {
	return func(s string) (string, error) {
		n, err := parse(s)
		return strconv.Itoa(n), err
	}
}

// cleanWord accepts one of words, each of them a what.
func cleanWord(what string, words ...string) func(string) (string, error) {
	return func(s string) (string, error) {
		if slices.Contains(words, s) {
			return s, nil
		}
		return "", suggest(usage("%q is not a %s", s, what), s, words, "choose "+strings.Join(words, " or "))
	}
}

// cleanMirror accepts where a registry is. Without a scheme it is HTTPS.
func cleanMirror(s string) (string, error) {
	text := s
	if !strings.Contains(s, "://") {
		text = "https://" + s
	}
	u, err := url.Parse(text)
	if err != nil || !isText(s) || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || strings.TrimSuffix(text, "/") != u.Scheme+"://"+u.Host {
		return "", errs.WithHint(usage("%q is not a registry", s), "write HOST or HOST:PORT, after http:// if it knows no HTTPS")
	}
	return strings.TrimSuffix(s, "/"), nil
}

func cleanSwitch(s string) (string, error) {
	if s == "on" || s == "off" {
		return s, nil
	}
	return "", errs.WithHint(usage("%q is neither on nor off", s), "write on or off")
}

// CheckMachine refuses, with errs.ErrUsage, a size and boot arguments that no VM can have.
func CheckMachine(cpus, memMiB int, bootArgs string) error {
	_, err := ParseCPUs(strconv.Itoa(cpus))
	if err == nil {
		_, err = ParseMiB(strconv.Itoa(memMiB))
	}
	if err == nil {
		_, err = cleanBootArgs(bootArgs)
	}
	return err
}

func cleanBootArgs(s string) (string, error) {
	if len(s) > maxBootArgs {
		return "", usage("%d bytes of boot arguments are more than %d", len(s), maxBootArgs)
	}
	if !isText(s) {
		return "", usage("boot arguments are one line of UTF-8 text without control characters")
	}
	return s, nil
}

func cleanImage(s string) (string, error) {
	if s == "" || !isText(s) {
		return "", usage("%q is not an image", s)
	}
	return s, nil
}

func cleanPath(s string) (string, error) {
	if s == "" || !isText(s) {
		return "", usage("%q is not a path, or not one that config.toml can hold", s)
	}
	return s, nil
}

// isText accepts what a line of TOML can hold: in other bytes than UTF-8 it would come back changed.
func isText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// checkFile makes the path of k absolute and looks whether it can be what k wants.
func checkFile(k key, path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return "", errs.New(errs.ErrNotFound, "%s not found: %s", k.name, path).Hint("give the path of a file that exists")
	} else if err != nil {
		return "", fmt.Errorf("setting %s: %w", k.name, err)
	}
	if !info.Mode().IsRegular() {
		return "", usage("%s is not a regular file: %s", k.name, path)
	}
	if k.isExec && info.Mode().Perm()&0o111 == 0 {
		return "", errs.WithHint(usage("%s is not executable: %s", k.name, path), "chmod +x "+path)
	}
	return path, nil
}

func usage(format string, args ...any) error {
	return errs.New(errs.ErrUsage, format, args...)
}
