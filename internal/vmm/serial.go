package vmm

import (
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"noid/internal/lazy"
	"noid/internal/untrusted"
)

// SerialStartFile holds the length, in decimal, that serial.log had when this run began: what stands before it, the
// "System halted" of the run before say, tells nothing about this one.
const SerialStartFile = "serial.start"

// MarkSerialStart writes SerialStartFile in dir.
func MarkSerialStart(dir string) error {
	var size int64
	if info, err := os.Lstat(filepath.Join(dir, SerialLogFile)); err == nil && info.Mode().IsRegular() {
		size = info.Size()
	}
	if err := Remove(dir, SerialStartFile); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, SerialStartFile), os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(strconv.FormatInt(size, 10))
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

// SerialSinceStart is the end of what the guest of dir wrote to its console since MarkSerialStart.
func SerialSinceStart(dir string) []byte {
	data, size := untrusted.TailSize(filepath.Join(dir, SerialLogFile), SerialTail)
	start, err := strconv.ParseInt(string(untrusted.Tail(filepath.Join(dir, SerialStartFile), 20)), 10, 64)
	if err != nil || start > size { // the log was cut since
		return data
	}
	return data[max(0, int64(len(data))-(size-start)):]
}

// lastLine is a kernel's last line. One that cannot switch the power off halts at "Power down" too.
var lastLine = lazy.Regexp(`\[ *\d+\.\d{6}\] reboot: (?:System halted|Power down)\r?\n?$`)

// Halted reports whether a console's output ends with the line of a kernel that has halted its processors for ever.
func Halted(console []byte) bool { return lastLine().Match(console) }
