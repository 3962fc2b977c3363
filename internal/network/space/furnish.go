package space

import (
	"encoding/binary"
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"noid/internal/network/address"
)

// bufferBytes is how much may wait in the packet socket, each way. A frame of a guest that leaves segmentation to the
// host has 64 KiB, and the kernel counts twice that.
const bufferBytes = 4 << 20

// failure is an error in making the namespace. Its text and number go through a pipe.
type failure struct {
	doing string
	errno error
}

func (f failure) Error() string { return f.doing + ": " + f.errno.Error() }
func (f failure) Unwrap() error { return f.errno }

// furnish makes, in the calling thread's network namespace, the device Tap for this user and the packet socket on it.
func furnish() (socket *os.File, err error) {
	// The kernel's own IP has nothing to say here. Where /proc/sys is read-only it says no more than its link-local
	// address, at which nobody listens.
	for _, which := range []string{"default", "all"} {
		os.WriteFile("/proc/sys/net/ipv6/conf/"+which+"/disable_ipv6", []byte("1"), 0)
	}
	if err := makeTap(); err != nil {
		return nil, err
	}
	index, err := raise()
	if err != nil {
		return nil, err
	}
	fd, err := listen(index)
	if err != nil {
		return nil, failure{"opening a packet socket", err}
	}
	return os.NewFile(uintptr(fd), "packet"), nil
}

// makeTap makes the device, which outlives the descriptor it was made by, and gives it to this user: who owns it opens
// it without a privilege.
func makeTap() error {
	tun, err := unix.Open(Device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return failure{"opening " + Device, err}
	}
	defer unix.Close(tun)
	request, err := unix.NewIfreq(Tap)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(tun, unix.TUNSETIFF, request); err != nil {
		return failure{"making " + Tap, err}
	}
	err = errors.Join(unix.IoctlSetInt(tun, unix.TUNSETOWNER, os.Geteuid()), unix.IoctlSetInt(tun, unix.TUNSETPERSIST, 1))
	if err != nil {
		return failure{"keeping " + Tap, err}
	}
	return nil
}

// raise has the device be up, and returns its index.
func raise() (index int, err error) {
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0) // any socket takes a device's ioctls
	if err != nil {
		return 0, failure{"raising " + Tap, err}
	}
	defer unix.Close(s)
	request, err := unix.NewIfreq(Tap)
	if err != nil {
		return 0, err
	}
	request.SetUint32(address.MTU)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFMTU, request); err != nil {
		return 0, failure{"raising " + Tap, err}
	}
	request.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, request); err != nil {
		return 0, failure{"raising " + Tap, err}
	}
	if err := unix.IoctlIfreq(s, unix.SIOCGIFINDEX, request); err != nil {
		return 0, failure{"raising " + Tap, err}
	}
	return int(request.Uint32()), nil
}

// listen opens the packet socket. It gets the guest's frames alone: not its own, and none of before it is bound.
func listen(index int) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	for option, force := range map[int]int{unix.SO_RCVBUF: unix.SO_RCVBUFFORCE, unix.SO_SNDBUF: unix.SO_SNDBUFFORCE} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, bufferBytes) != nil {
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, bufferBytes) // as much as a user may have
		}
	}
	if err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		// The device's queue drops frames until some time after the VMM has opened the device. Later the network helper
		// has them go through it.
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1)); err == nil {
		all := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL)) // htons
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: index})
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}
