package stack

import (
	"slices"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// closing has the guest's ends of connections that are closed, least recently closed first, for as long as the guest has
// not acknowledged all that they have sent. The stack keeps that, up to bufferMax each, and a guest may never take it.
// There is no time limit: a guest that was paused for hours gets the end of its answers.
type closing struct {
	mu   sync.Mutex
	max  int
	list []tcpip.Endpoint
}

// add takes in an endpoint that was closed, and resets the oldest one that there is no room for.
func (c *closing) add(ep tcpip.Endpoint) {
	c.mu.Lock()
	c.sweep()
	c.list = append(c.list, ep)
	gone := c.take(len(c.list) - c.max)
	c.mu.Unlock()
	abortAll(gone)
}

// cut resets the oldest quarter, and returns how many these were.
func (c *closing) cut() int {
	c.mu.Lock()
	c.sweep()
	gone := c.take((len(c.list) + 3) / 4)
	c.mu.Unlock()
	abortAll(gone)
	return len(gone)
}

// sweep drops those of which the guest has all. c.mu is held.
func (c *closing) sweep() { c.list = slices.DeleteFunc(c.list, acknowledged) }

// take takes out the n oldest. c.mu is held.
func (c *closing) take(n int) []tcpip.Endpoint {
	n = max(n, 0)
	gone := slices.Clone(c.list[:n])
	c.list = slices.Delete(c.list, 0, n)
	return gone
}

func abortAll(endpoints []tcpip.Endpoint) {
	for _, ep := range endpoints {
		ep.Abort()
	}
}

// acknowledged reports whether the guest has all that a closed endpoint has sent, or will get no more of it. An endpoint
// whose FIN waits behind its data is still in the state that it had before.
func acknowledged(ep tcpip.Endpoint) bool {
	switch tcp.EndpointState(ep.State()) {
	case tcp.StateEstablished, tcp.StateCloseWait, tcp.StateFinWait1, tcp.StateClosing, tcp.StateLastAck:
		return false
	}
	return true
}
