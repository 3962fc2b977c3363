// Package nettest makes network namespaces for tests: one in which the test itself runs, with the addresses of an
// internet, and one whose kernel is the guest. No packet leaves them.
package nettest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"noid/internal/network/address"
)

// Server4 and Server6 are addresses of the internet in which the tests run, as are all others of 198.51.100.0/24 and
// 2001:db8::/64.
const (
	Server4 = "198.51.100.1"
	Server6 = "2001:db8::1"
)

const childEnv = "NOID_TEST_NETNS"

// Main runs the tests of a package in a user and network namespace of their own.
func Main(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "":
		os.Exit(again())
	case "new":
		if err := internet(); err != nil {
			fmt.Fprintln(os.Stderr, "making a network for the tests:", err)
			os.Exit(1)
		}
		os.Setenv(childEnv, "made") // for the processes that fuzz
	}
	os.Exit(m.Run())
}

// again runs this program again in new namespaces, and returns its exit code.
func again() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), childEnv+"=new")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	root := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNET, UidMappings: root,
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}, Pdeathsig: unix.SIGKILL,
	}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return max(exit.ExitCode(), 1)
	case err != nil:
		fmt.Fprintln(os.Stderr, "making a network namespace:", err)
		return 1
	}
	return 0
}

func internet() error {
	return errors.Join(IP("link set lo up", "addr add "+Server4+"/32 dev lo", "-6 addr add "+Server6+"/128 dev lo",
		"-6 route add local 2001:db8::/64 dev lo", "route add local 198.51.100.0/24 dev lo"), pings())
}

// pings has this namespace's kernel let everybody send pings.
func pings() error { return os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 0"), 0) }

// IP runs ip(8) with each line of words, in the namespace of the calling thread.
func IP(lines ...string) error {
	for _, line := range lines {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %v: %s", line, err, out)
		}
	}
	return nil
}

// Guest is a network namespace whose kernel is the guest.
type Guest struct {
	t     testing.TB
	calls chan func()
	over  chan struct{}
	// FD carries its frames, each with a virtio_net_hdr before it. Whoever gets it closes it.
	FD int
}

// NewGuest makes a guest with a device of the addresses that every guest has. Its end comes with the test's.
func NewGuest(t testing.TB) *Guest {
	g := &Guest{t: t, calls: make(chan func()), over: make(chan struct{})}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			made <- err
			return
		}
		var err error
		g.FD, err = tap("eth0")
		if err == nil {
			err = configure()
		}
		made <- err
		for {
			select {
			case call := <-g.calls:
				call()
			case <-g.over:
				return
			}
		}
	}()
	if err := <-made; err != nil {
		t.Fatal("making a guest: ", err)
	}
	t.Cleanup(func() { close(g.over) })
	return g
}

// Do runs f in the guest, on its one thread. After the test's end it does nothing.
func (g *Guest) Do(f func()) {
	done := make(chan struct{})
	select {
	case g.calls <- func() { defer close(done); f() }:
		<-done
	case <-g.over:
	}
}

// Run runs a command in the guest, and returns what it writes.
func (g *Guest) Run(name string, args ...string) (out string, err error) {
	g.Do(func() {
		var b []byte
		b, err = exec.Command(name, args...).CombinedOutput()
		out = string(b)
	})
	return out, err
}

// ifreq is struct ifreq of net/if.h, for flags.
type ifreq struct {
	name  [unix.IFNAMSIZ]byte
	flags uint16
	_     [22]byte
}

// tap makes a tap device, and returns the descriptor of its other end.
func tap(name string) (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	req := ifreq{flags: unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR}
	copy(req.name[:], name)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNSETIFF, uintptr(unsafe.Pointer(&req))); errno != 0 {
		return -1, errno
	}
	const tsoAndMore = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN
	if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, tsoAndMore); err != nil {
		return -1, err
	}
	return fd, nil
}

func configure() error {
	mac := fmt.Sprintf("%x", address.GuestMAC[:])
	for i := 10; i > 0; i -= 2 {
		mac = mac[:i] + ":" + mac[i:]
	}
	return errors.Join(IP("link set lo up", "link set eth0 address "+mac, fmt.Sprintf("link set eth0 mtu %d up", address.MTU),
		"addr add "+address.Guest4.String()+" dev eth0", "-6 addr add "+address.Guest6.String()+" dev eth0 nodad",
		"route add default via "+address.Gateway4.String(), "-6 route add default via "+address.Gateway6.String()), pings())
}
