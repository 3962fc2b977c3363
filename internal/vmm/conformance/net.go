package conformance

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"os"
	"testing"

	"golang.org/x/sys/unix"

	"noid/internal/network/address"
	"noid/internal/network/space"
	"noid/internal/vmm"
)

// testNet follows the network device of a VM: frames of the guest arrive on the packet socket, and what is sent there
// arrives in the guest, after a load and on the source after a snapshot as well. Two clones have the same addresses and
// do not meet.
func testNet(t *testing.T, h Harness) {
	vm := newMachine(t, h, h.Guest.RootfsPath)
	vm.m.Net = true
	vm.boot(t)
	vm.wantAddresses(t)
	vm.wantAgent(t, "after the boot")
	// 10.63.0.2 port 61, as the kernel writes it: the agent's relay.
	vm.con.wantRun(t, "until grep -q ' 02003F0A:003D ' /proc/net/tcp; do sleep 0.1; done; grep -c ':003D ' /proc/net/tcp6", "1")
	vm.wantPing(t, "after the boot")
	vm.tell(t, vmm.Pause)
	checkpoint := vm.checkpoint(t)
	vm.tell(t, vmm.ResumeSaved)
	vm.wantPing(t, "of the source after a snapshot")
	first, second := vm.load(t, checkpoint), vm.load(t, checkpoint)
	first.wantPing(t, "of a clone")
	second.wantPing(t, "of another clone")
	first.wantAddresses(t)
	vm.con.send(t, "poweroff -f\n")
	vm.wantEnding(t, vmm.EndedPoweroff)
}

// wantAddresses looks at what the guest has: the addresses of all VMs, routes and a name server.
func (vm *machine) wantAddresses(t *testing.T) {
	t.Helper()
	vm.con.wantRun(t, "ip -4 -o addr show dev eth0 | awk '{print $4}'; ip -6 -o addr show dev eth0 scope global | awk '{print $4}'",
		fmt.Sprintf("%s\n%s", address.Guest4, address.Guest6))
	vm.con.wantRun(t, "ip route | grep default; ip -6 route | awk '/default/ {print $3}'; grep ^nameserver /etc/resolv.conf; cat /sys/class/net/lo/flags",
		fmt.Sprintf("default via %s dev eth0 \n%s\nnameserver %s\n0x9", address.Gateway4, address.Gateway6, address.Gateway4))
}

// wantPing has the guest ask the gateway for an echo, over IPv4, and be answered by this process.
func (vm *machine) wantPing(t *testing.T, when string) {
	t.Helper()
	socket, err := space.Socket(vm.p)
	if err != nil {
		t.Fatalf("the packet socket %s: %v", when, err)
	}
	end := make(chan struct{})
	ended := make(chan struct{})
	go func() { defer close(ended); answer(socket, end) }()
	defer func() { close(end); <-ended; socket.Close() }()
	vm.con.wantRun(t, "ip neigh flush dev eth0 >/dev/null 2>&1; ping -c 1 -W 20 "+address.Gateway4.String()+" >/dev/null && echo answered", "answered")
}

// answer is the gateway: it answers ARP and echo requests for it until end is closed.
func answer(socket *os.File, end chan struct{}) {
	fd := int(socket.Fd())
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000})
	buf := make([]byte, 1<<16)
	for {
		select {
		case <-end:
			return
		default:
		}
		n, err := unix.Read(fd, buf)
		if err != nil || n < space.HeaderBytes {
			continue
		}
		frame := buf[space.HeaderBytes:n]
		if reply(frame) {
			unix.Write(fd, append(make([]byte, space.HeaderBytes), frame...))
		}
	}
}

// reply turns a request for the gateway into the answer, and reports whether it was one. The guest leaves no checksum
// of ICMP to its device.
func reply(frame []byte) bool {
	const ethernet, arp, ipv4, ip = 14, 0x0806, 0x0800, 20
	if len(frame) < ethernet+ip+8 || !bytes.Equal(frame[6:12], address.GuestMAC[:]) {
		return false
	}
	body := frame[ethernet:]
	gateway, guest := address.Gateway4.AsSlice(), address.Guest4.Addr().AsSlice()
	switch kind := binary.BigEndian.Uint16(frame[12:]); {
	case kind == arp && body[7] == 1 && bytes.Equal(body[24:28], gateway):
		body[7] = 2
		copy(body[18:28], body[8:18]) // who asked is the target
		copy(body[8:], address.GatewayMAC[:])
		copy(body[14:], gateway)
	case kind == ipv4 && body[9] == 1 && body[ip] == 8 && bytes.Equal(body[16:20], gateway):
		copy(body[12:16], gateway) // the header's checksum does not change
		copy(body[16:20], guest)
		body[ip] = 0
		sum := uint32(binary.BigEndian.Uint16(body[ip+2:])) + 8<<8 // RFC 1624: the type has become less
		binary.BigEndian.PutUint16(body[ip+2:], uint16(sum+sum>>16))
	default:
		return false
	}
	copy(frame, address.GuestMAC[:])
	copy(frame[6:], address.GatewayMAC[:])
	return true
}
