package intercept

import (
	"io"
	"net"
	"testing"
	"time"
)

// mute is a connection whose client has gone without a word.
type mute struct {
	net.Conn
	until time.Time // the first deadline
}

func (*mute) Read([]byte) (int, error) { return 0, io.EOF }

func (s *mute) SetReadDeadline(t time.Time) error {
	if s.until.IsZero() {
		s.until = t
	}
	return nil
}

// TestPatience: a client of HTTPS has longer for its first word than one that may wait for the server's.
func TestPatience(t *testing.T) {
	for port, want := range map[uint16]time.Duration{443: helloWait, 25: silence} {
		c, before := &mute{}, time.Now()
		if _, err := peek(c, port); err != nil {
			t.Fatal(err)
		}
		if c.until.Before(before.Add(want)) || c.until.After(time.Now().Add(want)) {
			t.Errorf("port %d: until %v", port, c.until.Sub(before))
		}
	}
}
