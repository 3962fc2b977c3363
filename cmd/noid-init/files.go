//go:build linux

package main

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxFile bounds what readFile reads, in bytes: a kernel command line is at most 4096.
const maxFile = 64 << 10

func readFile(path string) string {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	buf, n := make([]byte, maxFile), 0
	for n < len(buf) {
		m, err := unix.Read(fd, buf[n:])
		if err != nil || m <= 0 {
			break
		}
		n += m
	}
	return string(buf[:n])
}

// arguments returns what the kernel passed to this process beside its name: words of its command line that it did not
// know. Package os would tell, at the price of its size.
func arguments() []string {
	words := strings.Split(strings.TrimSuffix(readFile("/proc/self/cmdline"), "\x00"), "\x00")
	return words[1:]
}

// loadModules inserts each module of modulesDir and deletes it: the initramfs is memory.
func loadModules() {
	for _, name := range list(modulesDir) {
		path := modulesDir + "/" + name
		// EEXIST: loaded or built in. ENODEV: hardware that this machine lacks, such as crc32c-intel's
		// instruction.
		if err := loadModule(path); err != nil && err != unix.EEXIST && err != unix.ENODEV {
			say(failure{"loading " + name, err}.Error())
		}
		unix.Unlink(path)
	}
}

func loadModule(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.FinitModule(fd, "", 0)
}

// list returns the names in dir, sorted; none if there is no such directory.
func list(dir string) []string {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	var names []string
	for buf := make([]byte, 16<<10); ; {
		n, err := unix.ReadDirent(fd, buf)
		if err != nil || n <= 0 {
			break
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
	slices.Sort(names)
	return names
}

// maxSaid bounds what kernelSays returns, in lines.
const maxSaid = 5

// kernelSays returns the last of the kernel's messages with word in them: the console does not show them, since it is
// quiet.
func kernelSays(word string) []string {
	const readAll = 3 // SYSLOG_ACTION_READ_ALL of syslog(2)
	buf := make([]byte, maxFile)
	n, err := unix.Klogctl(readAll, buf)
	if err != nil {
		return nil
	}
	return linesWith(string(buf[:n]), word)
}

func linesWith(log, word string) (lines []string) {
	for line := range strings.Lines(log) {
		if i := strings.Index(line, word); i >= 0 {
			lines = append(lines, strings.TrimSpace(line[i:]))
		}
	}
	return lines[max(0, len(lines)-maxSaid):]
}

// hasWord reports whether word stands alone in a kernel command line.
func hasWord(cmdline, word string) bool {
	return slices.Contains(strings.Fields(cmdline), word)
}

// valueOf returns the last value of key=value in a kernel command line, as the kernel does.
func valueOf(cmdline, key string) (value string) {
	for _, word := range strings.Fields(cmdline) {
		if v, ok := strings.CutPrefix(word, key+"="); ok {
			value = v
		}
	}
	return value
}
