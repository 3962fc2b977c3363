package stack

import (
	"io"
	"net"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"noid/internal/network/nettest"
)

// TestPatient has the stack take a guest that answers late for what it is, and not for a wire that loses.
func TestPatient(t *testing.T) {
	n := newNetwork(t, nil)
	var resend tcpip.TCPMinRTOOption
	var recovery tcpip.TCPRecovery
	for _, option := range []tcpip.GettableTransportProtocolOption{&resend, &recovery} {
		if err := n.stack.TransportProtocolOption(tcp.ProtocolNumber, option); err != nil {
			t.Fatal(err)
		}
	}
	if resend != tcpip.TCPMinRTOOption(resendAfter) || recovery&tcpip.TCPRACKLossDetection != 0 {
		t.Errorf("sends again after %d ns, recovery %b", resend, recovery)
	}
	const bytes = 16 << 20
	c := n.dial(t, "tcp", serve(t, nettest.Server4+":0", func(c *net.TCPConn) {
		defer c.Close()
		c.Write(make([]byte, bytes))
	}))
	if got, err := io.Copy(io.Discard, c); got != bytes || err != nil {
		t.Errorf("%d bytes, %v", got, err)
	}
	if probes := n.stack.Stats().TCP.TLPRecovery.Value() + n.stack.Stats().TCP.FastRetransmit.Value(); probes != 0 {
		t.Errorf("%d segments again", probes)
	}
}

// TestOneRead has what is read of a server at once fit into one packet.
func TestOneRead(t *testing.T) {
	host, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer host.Close()
	out, err := net.Dial("tcp", host.Addr().String())
	must(t, err)
	defer out.Close()
	in, err := host.Accept()
	must(t, err)
	defer in.Close()
	go out.Write(make([]byte, 1<<20))
	raw, err := in.(*net.TCPConn).SyscallConn()
	must(t, err)
	for left := 1 << 20; left > 0; {
		data, k, err := readReady(raw)
		must(t, err)
		buffers.Put(data)
		if left -= k; k > segmentMax {
			t.Errorf("%d bytes at once", k)
		}
	}
}
