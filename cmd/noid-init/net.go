//go:build linux

package main

import (
	"net/netip"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"noid/internal/network/address"
)

const (
	netDevice  = "eth0" // the VM's network device, if it has one
	resolvFile = "/etc/resolv.conf"
	// noDAD is IFA_F_NODAD: nobody else can have the address.
	noDAD = 2
)

// raiseNetwork has the loopback and the VM's network device be up, with the addresses and routes of all VMs, and
// reports whether there is such a device. A system's own network set-up may change all of it later.
func raiseNetwork() bool {
	s, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return false // a kernel without a network
	}
	defer unix.Close(s)
	loop, device := indexOf("lo"), indexOf(netDevice)
	raise(s, loop)
	if device == 0 {
		return false
	}
	raise(s, device)
	for _, family := range []struct {
		of      uint8
		length  int
		own, by []byte
	}{
		{unix.AF_INET, address.Guest4.Bits(), address.Guest4.Addr().AsSlice(), address.Gateway4.AsSlice()},
		{unix.AF_INET6, address.Guest6.Bits(), address.Guest6.Addr().AsSlice(), address.Gateway6.AsSlice()},
	} {
		err := ask(s, unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE,
			bytesOf(&unix.IfAddrmsg{Family: family.of, Prefixlen: uint8(family.length), Flags: noDAD, Index: device}),
			attribute(unix.IFA_LOCAL, family.own), attribute(unix.IFA_ADDRESS, family.own))
		if err == nil {
			err = ask(s, unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE,
				bytesOf(&unix.RtMsg{Family: family.of, Table: unix.RT_TABLE_MAIN, Protocol: unix.RTPROT_BOOT, Type: unix.RTN_UNICAST}),
				attribute(unix.RTA_GATEWAY, family.by), attribute(unix.RTA_OIF, bytesOf(&device)))
		}
		if err != nil && family.of == unix.AF_INET { // IPv6 may be switched off
			say(failure{"giving " + netDevice + " its address", err}.Error())
		}
	}
	return true
}

// indexOf returns the number of a network device, or 0.
func indexOf(device string) uint32 {
	index, _ := strconv.Atoi(strings.TrimSpace(readFile("/sys/class/net/" + device + "/ifindex")))
	return uint32(index)
}

func raise(s int, device uint32) {
	if err := ask(s, unix.RTM_NEWLINK, 0, bytesOf(&unix.IfInfomsg{Index: int32(device), Flags: unix.IFF_UP, Change: unix.IFF_UP})); err != nil {
		say(failure{"raising a network device", err}.Error())
	}
}

// ask sends a message to the kernel and waits for its word.
func ask(s int, kind, flags uint16, parts ...[]byte) error {
	header := unix.NlMsghdr{Len: unix.SizeofNlMsghdr, Type: kind, Flags: unix.NLM_F_REQUEST | unix.NLM_F_ACK | flags}
	for _, part := range parts {
		header.Len += uint32(len(part))
	}
	message := bytesOf(&header)
	for _, part := range parts {
		message = append(message, part...)
	}
	if err := unix.Sendto(s, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(s, answer, 0)
	if err == nil && n >= unix.SizeofNlMsghdr+4 { // an nlmsgerr: a negative number, 0 for none
		if errno := *(*int32)(unsafe.Pointer(&answer[unix.SizeofNlMsghdr])); errno != 0 {
			err = unix.Errno(-errno)
		}
	}
	return err
}

// attribute is one of a message's; values have four or sixteen bytes.
func attribute(kind uint16, value []byte) []byte {
	return append(bytesOf(&unix.RtAttr{Len: uint16(unix.SizeofRtAttr + len(value)), Type: kind}), value...)
}

// bytesOf returns a copy of v as it is in memory.
func bytesOf[T any](v *T) []byte {
	return append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))...)
}

// makeConf makes a file of the initramfs, memory, that names the gateway, for nameServer. -1: there is none.
func makeConf() int {
	const path = "/resolv.conf"
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return -1
	}
	writeConf(fd)
	return fd
}

func writeConf(fd int) {
	unix.Fchmod(fd, 0o644) // whatever the umask
	unix.Write(fd, []byte("nameserver "+address.Gateway4.String()+"\n"))
}

// nameServer has resolvFile name the gateway where it is missing or empty, or names servers that are not there. Where it
// is a link that leads nowhere, a file is made at its end, which the system may replace when it is up: what systemd
// mounts on /run hides it. What names other servers is the image's own: it is covered by conf, a file of makeConf's, and
// not changed. With alone, no init of the image will run.
func nameServer(conf int, alone bool) {
	path := resolvFile
	for range 8 { // links
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err == unix.ENOENT {
			break
		} else if err != nil || st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size > 0 {
			if err == nil && namesNobody(readFile(path), alone) {
				if err := unix.Mount("/proc/self/fd/"+strconv.Itoa(conf), path, "", unix.MS_BIND, ""); err != nil {
					say(failure{"covering " + path, err}.Error())
				}
			}
			return
		}
		if st.Mode&unix.S_IFMT != unix.S_IFLNK {
			break
		}
		path = behind(path)
	}
	for i := range path {
		if i > 0 && path[i] == '/' {
			unix.Mkdir(path[:i], 0o755)
		}
	}
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return // a root that is read-only
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG {
		writeConf(fd)
	}
}

// namesNobody reports whether a resolv.conf names servers on the loopback alone that will not be there: those of the
// machine on which the image was made, as systemd's 127.0.0.53 and docker's 127.0.0.11. On 127.0.0.1, and where it names
// none, which means that, the image's own init may start one.
func namesNobody(text string, alone bool) bool {
	own := true
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		a, err := netip.ParseAddr(words[1])
		if err == nil && !a.IsLoopback() {
			return false
		}
		if a != netip.AddrFrom4([4]byte{127, 0, 0, 1}) && a != netip.IPv6Loopback() {
			own = false
		}
	}
	return alone || !own
}

// behind returns where a link leads.
func behind(link string) string {
	buf := make([]byte, 4096)
	n, err := unix.Readlink(link, buf)
	if err != nil {
		return link
	}
	to := string(buf[:n])
	if !strings.HasPrefix(to, "/") {
		to = link[:strings.LastIndexByte(link, '/')+1] + to
	}
	return to
}
