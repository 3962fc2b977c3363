package stack

import (
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"noid/internal/network/address"
)

const (
	// vnetLen is the length of struct virtio_net_hdr (linux/virtio_net.h), which is before each frame.
	vnetLen = 10
	// maxFrame is the longest frame that segmentation offload makes, with its virtio_net_hdr.
	maxFrame = vnetLen + header.EthernetMinimumSize + 1<<16
	// gsoMax bounds the packets that the stack leaves to the kernel to cut, in bytes. IP has 16 bits for a length.
	gsoMax = 60 << 10
	// segmentMax is the data of such a packet, in bytes.
	segmentMax = gsoMax - header.TCPTotalHeaderMaximumSize - 1
)

// Fields of struct virtio_net_hdr.
const (
	needsCsum  = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM
	gsoTCPv4   = 1
	gsoTCPv6   = 4
	gsoUDPL4   = 5
	gsoECN     = 0x80
	offGSOSize = 4
)

// link is the endpoint of the guest's wire: a descriptor that carries one frame a read and a write, each with a
// virtio_net_hdr before it. There is only the guest at its other end, so it resolves no addresses: all goes to the MAC
// that the guest sent from last.
type link struct {
	file *os.File
	conn syscall.RawConn
	bare bool               // frames have no virtio_net_hdr: nobody else cuts them or computes their checksums
	rx   func(frame []byte) // sees each frame before the stack does

	mu         sync.Mutex
	dispatcher stack.NetworkDispatcher
	mac        atomic.Value // tcpip.LinkAddress, the guest's
	dropped    atomic.Uint64
	closed     chan struct{}
}

func newLink(fd int, bare bool) (*link, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, os.NewSyscallError("making the link non-blocking", err)
	}
	unix.CloseOnExec(fd)
	l := &link{file: os.NewFile(uintptr(fd), "link"), bare: bare, closed: make(chan struct{})}
	l.mac.Store(tcpip.LinkAddress(address.GuestMAC[:]))
	var err error
	l.conn, err = l.file.SyscallConn()
	return l, err
}

// receive hands frames to the stack until the descriptor is closed.
func (l *link) receive() error {
	defer close(l.closed)
	buf := make([]byte, maxFrame)
	for {
		n, err := l.file.Read(buf)
		switch {
		case errors.Is(err, os.ErrClosed):
			return nil
		case errors.Is(err, unix.ENETDOWN), errors.Is(err, unix.EBADFD): // the device is down for a moment
			continue
		case errors.Is(err, unix.EINVAL): // a virtio_net_hdr of the guest's that the kernel does not pass on
			l.dropped.Add(1)
			continue
		case err != nil:
			return err
		}
		l.deliver(buf[:n])
	}
}

// queueWait is how long the frames to the guest pass by the device's queue. It takes frames only some time, a second at
// most, after the VMM has opened the device; until then it drops them.
const queueWait = 3 * time.Second

// useQueue has the frames go through the device's queue, which also cuts those that a guest does not take whole.
func (l *link) useQueue() {
	l.conn.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 0) })
}

// deliver hands one frame to the stack, without a look at its checksum: the kernel computes none for what does not
// leave the host.
func (l *link) deliver(frame []byte) {
	vnet := noVnet[:]
	if !l.bare {
		vnet, frame = frame[:min(vnetLen, len(frame))], frame[min(vnetLen, len(frame)):]
	}
	if len(frame) < header.EthernetMinimumSize {
		return
	}
	if !admit(frame) {
		return
	}
	if l.rx != nil {
		l.rx(frame)
	}
	eth := header.Ethernet(frame)
	if string(frame[6:12]) != string(l.mac.Load().(tcpip.LinkAddress)) && header.IsValidUnicastEthernetAddress(eth.SourceAddress()) {
		l.mac.Store(eth.SourceAddress())
	}
	l.mu.Lock()
	dispatcher := l.dispatcher
	l.mu.Unlock()
	if dispatcher == nil {
		return
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(frame)})
	defer pkt.DecRef()
	pkt.LinkHeader().Consume(header.EthernetMinimumSize)
	if vnet[1]&^gsoECN == gsoUDPL4 { // several datagrams of this length in one
		pkt.GSOOptions.MSS = binary.NativeEndian.Uint16(vnet[offGSOSize:])
	}
	dispatcher.DeliverNetworkPacket(eth.Type(), pkt)
}

// roomWait is how long, in milliseconds, a frame waits for room: an ordinary user's socket holds a few frames, and TCP
// halves its speed for each that is lost.
const roomWait = 10

// WritePackets implements stack.LinkWriter. A frame that finds no room is lost, as on any wire.
func (l *link) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	list := pkts.AsSlice()
	for _, pkt := range list {
		l.write(pkt)
	}
	return len(list), nil
}

func (l *link) write(pkt *stack.PacketBuffer) {
	var vnet [vnetLen]byte
	var room [8][]byte
	parts := room[:0]
	if !l.bare {
		fillVnet(vnet[:], pkt)
		parts = append(parts, vnet[:])
	}
	parts = append(parts, pkt.AsSlices()...)
	err := l.conn.Control(func(fd uintptr) {
		_, err := unix.Writev(int(fd), parts)
		if err == unix.EAGAIN {
			unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, roomWait)
			_, err = unix.Writev(int(fd), parts)
		}
		if err != nil {
			l.dropped.Add(1)
		}
	})
	if err != nil {
		l.dropped.Add(1)
	}
}

// noVnet stands for the virtio_net_hdr of a frame that has none.
var noVnet [vnetLen]byte

// fillVnet has the kernel compute the checksum of a packet, and cut it, where the stack has left that to it.
func fillVnet(vnet []byte, pkt *stack.PacketBuffer) {
	gso := &pkt.GSOOptions
	if gso.Type == stack.GSONone {
		return
	}
	put := binary.NativeEndian.PutUint16
	put(vnet[2:], uint16(pkt.HeaderSize()))
	if gso.NeedsCsum {
		vnet[0] = needsCsum
		put(vnet[6:], header.EthernetMinimumSize+gso.L3HdrLen)
		put(vnet[8:], gso.CsumOffset)
	}
	if pkt.Data().Size() > int(gso.MSS) {
		vnet[1] = gsoTCPv4
		if gso.Type == stack.GSOTCPv6 {
			vnet[1] = gsoTCPv6
		}
		put(vnet[offGSOSize:], gso.MSS)
	}
}

// AddHeader implements stack.LinkEndpoint.
func (l *link) AddHeader(pkt *stack.PacketBuffer) {
	to := pkt.EgressRoute.RemoteLinkAddress
	if to == "" {
		to = l.mac.Load().(tcpip.LinkAddress)
	}
	header.Ethernet(pkt.LinkHeader().Push(header.EthernetMinimumSize)).Encode(&header.EthernetFields{
		SrcAddr: l.LinkAddress(), DstAddr: to, Type: pkt.NetworkProtocolNumber,
	})
}

// Attach implements stack.LinkEndpoint.
func (l *link) Attach(d stack.NetworkDispatcher) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dispatcher = d
}

// IsAttached implements stack.LinkEndpoint.
func (l *link) IsAttached() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dispatcher != nil
}

// Close implements stack.LinkEndpoint.
func (l *link) Close() { l.file.Close() }

// Wait implements stack.LinkEndpoint.
func (l *link) Wait() {}

// The rest of stack.LinkEndpoint and stack.GSOEndpoint.

func (*link) MTU() uint32                                  { return address.MTU }
func (*link) SetMTU(uint32)                                {}
func (*link) MaxHeaderLength() uint16                      { return header.EthernetMinimumSize }
func (*link) LinkAddress() tcpip.LinkAddress               { return tcpip.LinkAddress(address.GatewayMAC[:]) }
func (*link) SetLinkAddress(tcpip.LinkAddress)             {}
func (*link) Capabilities() stack.LinkEndpointCapabilities { return stack.CapabilityRXChecksumOffload }
func (*link) ARPHardwareType() header.ARPHardwareType      { return header.ARPHardwareEther }
func (*link) ParseHeader(*stack.PacketBuffer) bool         { return true }
func (*link) SetOnCloseAction(func())                      {}
func (*link) GSOMaxSize() uint32                           { return gsoMax }

// SupportedGSO implements stack.GSOEndpoint.
func (l *link) SupportedGSO() stack.SupportedGSO {
	if l.bare {
		return stack.GVisorGSOSupported
	}
	return stack.HostGSOSupported
}
