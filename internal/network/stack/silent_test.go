package stack

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"noid/internal/network/address"
	"noid/internal/network/nettest"
)

// TestSilent has a guest stand still in the middle of a download, as in a pause: it is sent the same again, soon and not
// ever later, and has all once it goes on.
func TestSilent(t *testing.T) {
	n := newNetwork(t, nil)
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	c := n.dial(t, "tcp", serve(t, nettest.Server4+":0", func(c *net.TCPConn) {
		defer c.Close()
		c.Write(data)
	}))
	first := make([]byte, 1<<20)
	if _, err := io.ReadFull(c, first); err != nil {
		t.Fatal(err)
	}
	var err error
	n.Do(func() { err = nettest.IP("addr del " + address.Guest4.String() + " dev eth0") }) // it hears nothing, and says nothing
	must(t, err)
	rest := make(chan []byte)
	go func() {
		got, _ := io.ReadAll(c)
		rest <- got
	}()
	const again = 9 // if the time doubled each time, the last one were after 100 s
	for deadline := time.Now().Add(time.Minute); n.stack.Stats().TCP.Timeouts.Value() < again; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("sent again %d times in a minute", n.stack.Stats().TCP.Timeouts.Value())
		}
	}
	n.Do(func() {
		err = errors.Join(nettest.IP("addr add "+address.Guest4.String()+" dev eth0", "route add default via "+address.Gateway4.String()))
	})
	must(t, err)
	c.SetDeadline(time.Now().Add(time.Minute))
	if got := append(first, <-rest...); !bytes.Equal(got, data) {
		t.Errorf("%d bytes of %d came, or others", len(got), len(data))
	}
	// What was lost, some 350 segments, is not sent again by one timeout each.
	if timeouts := n.stack.Stats().TCP.Timeouts.Value(); timeouts > again+50 {
		t.Errorf("%d timeouts until all had come", timeouts)
	}
}
