//go:build linux

package main

import (
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

// nameServer writes the gateway into resolvFile where that is missing or empty. Where it is a link that leads nowhere, a
// file is made at its end, which the system may replace when it is up: what systemd mounts on /run hides it.
func nameServer() {
	path := resolvFile
	for range 8 { // links
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err == unix.ENOENT {
			break
		} else if err != nil || st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size > 0 {
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
		unix.Fchmod(fd, 0o644) // whatever the umask
		unix.Write(fd, []byte("nameserver "+address.Gateway4.String()+"\n"))
	}
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
