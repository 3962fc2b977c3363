// Package wire is the protocol between a host and a guest's agent over one connection: frames, messages, and the limits
// that both ends enforce.
//
// A connection begins with a Hello from each side, the host's first. Then the host sends one Request and the agent
// answers with one Reply. After OpExec the job's streams follow in Data frames until the Exit. After any other Op the
// host may send the next Request.
//
// A job is a command in the guest. It outlives its connections. One breaks when a snapshot resets Firecracker's vsock
// or QEMU's port gets another host. Then the host dials again and sends Exec for the same job, with the offsets of what
// it has. Both sides resend what the other did not acknowledge, so every byte arrives once.
package wire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Version is the newest protocol version that this code speaks, MinVersion the oldest. The agent picks the greatest
// that both know; without one it says so in its Hello's Error.
const (
	Version    = 1
	MinVersion = 1
)

// VsockPort is the port that the agent listens on (AF_VSOCK), and PortName the name of its virtio-serial port, which a
// guest finds in /sys/class/virtio-ports/*/name.
const (
	VsockPort = 6643
	PortName  = "noid.agent.0"
)

// Limits. Each end closes a connection that exceeds them.
const (
	MaxMessage = 4 << 20   // bytes of a JSON message: execve(2) takes 2 MiB of arguments
	MaxHello   = 4 << 10   // bytes of a Hello, read before the other side is known
	MaxData    = 64 << 10  // bytes of a Data frame's content
	Window     = 512 << 10 // bytes of a stream that may be sent without being acknowledged
	Keep       = 1 << 20   // bytes of each output stream that the agent keeps of a job nobody is attached to
	MaxJobs    = 512       // jobs that an agent runs at once
	GraceSec   = 10        // seconds that an agent waits for a host whose connection broke before it hangs up the job
)

// Type is the first byte of a frame.
type Type byte

// The frames. All but Data, Ack and EOF carry JSON.
const (
	TypeHello   Type = 1 // Hello
	TypeRequest Type = 2 // Request, host to agent
	TypeReply   Type = 3 // Reply, agent to host
	TypeData    Type = 4 // stream byte, offset (8 bytes), content
	TypeAck     Type = 5 // stream byte, offset (8 bytes): everything before it arrived and was consumed
	TypeEOF     Type = 6 // stream byte, offset (8 bytes): the stream ends there
	TypeResize  Type = 7 // Size, host to agent
	TypeSignal  Type = 8 // Signal, host to agent
	TypeExit    Type = 9 // Exit, agent to host, after all output and its EOFs
	TypeDone    Type = 10
	// TypeDone, host to agent, without content: the Exit arrived, the agent may forget the job. Or before an Exit: the
	// host leaves on purpose, which hangs the job up unless it is detached.
)

// Stream is one of a job's byte streams. With a terminal there is no Stderr.
type Stream byte

// The streams, as file descriptors number them.
const (
	Stdin  Stream = 0
	Stdout Stream = 1
	Stderr Stream = 2
)

// A frame is its type, the length of its payload (4 bytes, big-endian) and the payload.
const headerLen = 5

// streamLen is the stream byte and the offset before a Data frame's content.
const streamLen = 9

// Frame is a frame that was read. Payload is valid until the next Read.
type Frame struct {
	Type    Type
	Payload []byte
}

// Reader reads frames. It never holds more than one, and grows with what really arrives, not with what a header claims.
type Reader struct {
	r      io.Reader
	header [headerLen]byte
	buf    []byte
	hello  bool // the Hello was read
}

// NewReader returns a Reader of r.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// ErrProtocol is wrapped by the errors of a peer that does not keep to the protocol.
var ErrProtocol = errors.New("protocol error")

// Read returns the next frame, io.EOF at a clean end, or an error that wraps ErrProtocol for a frame that is too long
// or of an unknown type.
func (r *Reader) Read() (Frame, error) {
	if _, err := io.ReadFull(r.r, r.header[:]); err != nil {
		return Frame{}, err
	}
	t, n := Type(r.header[0]), binary.BigEndian.Uint32(r.header[1:])
	if err := r.check(t, n); err != nil {
		return Frame{}, err
	}
	for have := 0; have < int(n); {
		step := min(int(n)-have, 64<<10)
		if len(r.buf) < have+step {
			r.buf = append(r.buf, make([]byte, have+step-len(r.buf))...)
		}
		got, err := io.ReadFull(r.r, r.buf[have:have+step])
		have += got
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return Frame{}, err
		}
	}
	f := Frame{t, r.buf[:n]}
	if len(r.buf) > MaxData+streamLen { // a big message is rare: do not hold its memory
		r.buf = nil
	}
	return f, nil
}

// check holds a header against the limits.
func (r *Reader) check(t Type, n uint32) error {
	limit := uint32(MaxMessage)
	switch t {
	case TypeHello:
		limit = MaxHello
	case TypeData:
		limit = MaxData + streamLen
	case TypeAck, TypeEOF:
		limit = streamLen
	case TypeResize, TypeSignal, TypeDone:
		limit = 256
	case TypeRequest, TypeReply, TypeExit:
	default:
		return fmt.Errorf("%w: frame of unknown type %d", ErrProtocol, t)
	}
	switch {
	case r.hello == (t == TypeHello):
		return fmt.Errorf("%w: frame of type %d out of turn", ErrProtocol, t)
	case n > limit:
		return fmt.Errorf("%w: frame of type %d with %d bytes", ErrProtocol, t, n)
	case n < streamLen && (t == TypeData || t == TypeAck || t == TypeEOF):
		return fmt.Errorf("%w: frame of type %d with %d bytes", ErrProtocol, t, n)
	}
	r.hello = true
	return nil
}

// Decode decodes the JSON of a frame.
func (f Frame) Decode(to any) error {
	if err := json.Unmarshal(f.Payload, to); err != nil {
		return fmt.Errorf("%w: frame of type %d: %v", ErrProtocol, f.Type, err)
	}
	return nil
}

// Stream takes a Data, Ack or EOF frame apart.
func (f Frame) Stream() (s Stream, offset uint64, content []byte, err error) {
	s, offset, content = Stream(f.Payload[0]), binary.BigEndian.Uint64(f.Payload[1:]), f.Payload[streamLen:]
	if s > Stderr {
		return 0, 0, nil, fmt.Errorf("%w: stream %d", ErrProtocol, s)
	}
	return s, offset, content, nil
}

// AppendMessage appends a frame with v as JSON to b.
func AppendMessage(b []byte, t Type, v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return b, err
	}
	if len(data) > MaxMessage {
		return b, fmt.Errorf("message of %d bytes: at most %d", len(data), MaxMessage)
	}
	return append(appendHeader(b, t, len(data)), data...), nil
}

// AppendStream appends a Data, Ack or EOF frame to b. content is at most MaxData long, and empty for Ack and EOF.
func AppendStream(b []byte, t Type, s Stream, offset uint64, content []byte) []byte {
	b = append(appendHeader(b, t, streamLen+len(content)), byte(s))
	return append(binary.BigEndian.AppendUint64(b, offset), content...)
}

// AppendDone appends a Done frame to b.
func AppendDone(b []byte) []byte { return appendHeader(b, TypeDone, 0) }

func appendHeader(b []byte, t Type, n int) []byte {
	return binary.BigEndian.AppendUint32(append(b, byte(t)), uint32(n))
}
