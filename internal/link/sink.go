package link

import (
	"fmt"
	"io"
	"sync"

	"noid/internal/link/wire"
)

// ackEvery is how many bytes are consumed before they are acknowledged. The agent's window must never run empty.
const ackEvery = wire.Window / 4

// writeSize is how much is written at once, so that a slow writer's progress is seen.
const writeSize = 64 << 10

// sink carries one output stream from the connection's reader to the caller's writer. It buffers at most a window, and
// the writer's goroutine another.
//
// Offsets: consumed ≤ claimed ≤ received. What is claimed is written even when the connection breaks. What was received
// beyond it is dropped then, and sent again.
type sink struct {
	w     io.Writer
	j     *job
	ready chan struct{} // pending is not empty

	mu       sync.Mutex
	pending  []byte // received and not claimed
	start    uint64 // the offset of pending's first byte
	consumed uint64 // the writer returned
	claimed  uint64
	acked    uint64        // on this connection, beginning with what its request named
	nudged   bool          // acknowledge though it is not due
	ahead    bool          // the next frame may be beyond what was received: an attach's first
	eof      bool          // it ends at received
	idle     bool          // the writer's goroutine waits
	failed   bool          // the writer did not take it
	empty    chan struct{} // closed when all was written; made by drained
}

func newSink(w io.Writer, j *job) *sink {
	return &sink{w: w, j: j, ready: make(chan struct{}, 1), idle: true}
}

// claim drops what no writer has begun with and says from where the stream is wanted.
func (o *sink) claim() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pending, o.start, o.eof, o.acked = o.pending[:0], o.claimed, false, o.claimed
	return o.claimed
}

// add takes a Data frame.
func (o *sink) add(offset uint64, data []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.at(offset); err != nil {
		return err
	}
	switch {
	case o.eof && len(data) > 0:
		return fmt.Errorf("data after the end of a stream")
	case len(o.pending)+len(data) > wire.Window:
		return fmt.Errorf("more than %d bytes without an acknowledgement", wire.Window)
	}
	if !o.failed {
		o.pending = append(o.pending, data...)
	} else {
		o.start += uint64(len(data))
	}
	o.hand()
	return nil
}

// end takes an EOF frame.
func (o *sink) end(offset uint64) (news bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.at(offset); err != nil {
		return false, err
	}
	news, o.eof = !o.eof, true
	o.hand()
	return news, nil
}

// at checks an offset: exactly what is expected, or more right after an attach.
func (o *sink) at(offset uint64) error {
	want := o.start + uint64(len(o.pending))
	if o.ahead && offset > want && offset < 1<<62 && len(o.pending) == 0 { // it is empty, for claim emptied it
		o.start, want = offset, offset
	}
	o.ahead = false
	if offset != want {
		return fmt.Errorf("data at offset %d instead of %d", offset, want)
	}
	return nil
}

// hand wakes the writer's goroutine, or the sender for a last acknowledgement. The mutex is held.
func (o *sink) hand() {
	if len(o.pending) > 0 {
		poke(o.ready)
	} else if o.eof {
		o.j.wake()
	}
}

// run writes what comes, until the job stops or the writer fails.
func (o *sink) run() {
	var spare []byte
	for {
		select {
		case <-o.ready:
		case <-o.j.quit:
			return
		}
		o.mu.Lock()
		spare, o.pending = o.pending, spare[:0]
		at := o.start
		o.start += uint64(len(spare))
		o.claimed, o.idle = o.start, false
		o.mu.Unlock()
		var err error
		for rest := spare; len(rest) > 0 && err == nil; {
			piece := rest[:min(len(rest), writeSize)]
			rest = rest[len(piece):]
			if _, err = o.w.Write(piece); err != nil {
				o.j.broken <- fmt.Errorf("writing the command's output: %w", err)
				break
			}
			at += uint64(len(piece))
			o.mu.Lock()
			o.consumed = at
			o.mu.Unlock()
			o.j.wake()
			if isClosed(o.j.quit) {
				return
			}
		}
		o.mu.Lock()
		o.idle, o.failed = true, err != nil
		if o.empty != nil && (len(o.pending) == 0 || o.failed) {
			close(o.empty)
			o.empty = nil
		}
		o.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// ack says up to where to acknowledge, and whether that is due.
func (o *sink) ack() (to uint64, due bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	done := o.eof && o.consumed == o.start && len(o.pending) == 0
	due = o.nudged || o.consumed > o.acked && (o.consumed-o.acked >= ackEvery || done)
	if due {
		o.acked, o.nudged = max(o.acked, o.consumed), false
	}
	return o.acked, due
}

// drained returns a channel that is closed when all that was received is written, or cannot be.
func (o *sink) drained() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	empty := make(chan struct{})
	if o.failed || o.idle && len(o.pending) == 0 {
		close(empty)
		return empty
	}
	o.empty = empty
	return empty
}
