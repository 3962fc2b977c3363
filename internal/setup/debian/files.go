package debian

import (
	"io/fs"
	"runtime"
)

// rootfsDirs are the directories of the root filesystem that busybox makes up, parents first.
var rootfsDirs = []struct {
	path string
	mode fs.FileMode
}{
	{"", 0o755}, {"bin", 0o755}, {"sbin", 0o755}, {"usr", 0o755}, {"usr/bin", 0o755}, {"usr/sbin", 0o755}, {"lib", 0o755},
	{"etc", 0o755}, {"dev", 0o755}, {"proc", 0o555}, {"sys", 0o555}, {"run", 0o755}, {"tmp", 0o777 | fs.ModeSticky},
	{"root", 0o700}, {"home", 0o755}, {"mnt", 0o755}, {"srv", 0o755}, {"opt", 0o755},
	{"var", 0o755}, {"var/log", 0o755}, {"var/tmp", 0o777 | fs.ModeSticky},
}

// serialPort is the terminal of QEMU's and Firecracker's first serial port.
func serialPort() string {
	if runtime.GOARCH == "arm64" {
		return "ttyAMA0"
	}
	return "ttyS0"
}

type rootfsFile struct {
	path string
	mode fs.FileMode
	text string
}

// rootfsFiles are its files beside busybox.
var rootfsFiles = []rootfsFile{
	{"etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"},
	// No password: whoever has the console has the VM.
	{"etc/shadow", 0o600, "root::19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n"},
	{"etc/group", 0o644, "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"},
	{"etc/shells", 0o644, "/bin/sh\n"},
	{"etc/hostname", 0o644, "noid\n"},
	{"etc/hosts", 0o644, "127.0.0.1 localhost\n127.0.1.1 noid\n::1 localhost ip6-localhost\n"},
	{"etc/fstab", 0o644, "/dev/vda / ext4 defaults 0 0\n"},
	{"etc/os-release", 0o644, "NAME=\"noid busybox\"\nID=noid-busybox\nPRETTY_NAME=\"noid's busybox root filesystem\"\n"},
	{"etc/profile", 0o644, "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nexport HOME=/root USER=root LOGNAME=root\n" +
		"[ -n \"$PWD\" ] && [ \"$PWD\" != / ] || cd \"$HOME\"\n"},
	{"etc/inittab", 0o644, "::sysinit:/etc/rc\n" + serialPort() + "::respawn:-/bin/sh\n" +
		"::ctrlaltdel:/sbin/poweroff\n::shutdown:/bin/umount -a -r\n"},
	{"etc/rc", 0o755, rcScript},
	// busybox acpid runs this when the power button is pressed, which is how QEMU asks a guest to shut down.
	{"etc/acpi/PWRF/00000080", 0o755, "#!/bin/sh\nexec poweroff\n"},
}

// rcScript runs once, before the console's shell. noid-init has brought /proc, /sys and /dev; another initramfs, or
// none, may have not.
const rcScript = `#!/bin/sh
[ -e /proc/self ] || mount -t proc proc /proc
[ -e /sys/class ] || mount -t sysfs sysfs /sys
[ -e /dev/null ] || mount -t devtmpfs devtmpfs /dev
mount -o remount,rw / 2>/dev/null
mkdir -p /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs /dev/shm
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs /tmp
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs /run
hostname -F /etc/hostname
ifconfig lo up
[ -e /dev/input/event0 ] && acpid -l /dev/null # a log on the disk would keep it from being remounted read-only at the end
exit 0
`
