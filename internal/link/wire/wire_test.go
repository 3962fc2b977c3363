package wire

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// frames returns some of each kind, as bytes and as what Read must return.
func frames(t testing.TB) (data []byte, want []Frame) {
	t.Helper()
	message := func(k Type, v any) {
		before := len(data)
		var err error
		if data, err = AppendMessage(data, k, v); err != nil {
			t.Fatal(err)
		}
		want = append(want, Frame{k, data[before+headerLen:]})
	}
	stream := func(k Type, s Stream, offset uint64, content string) {
		before := len(data)
		data = AppendStream(data, k, s, offset, []byte(content))
		want = append(want, Frame{k, data[before+headerLen:]})
	}
	message(TypeHello, Hello{Version: Version})
	message(TypeRequest, Request{Op: OpExec, Exec: &Exec{Job: "0123456789abcdef", Argv: [][]byte{{0xff, 0}, bytes.Repeat([]byte("x"), 200<<10)}}})
	message(TypeReply, Reply{Stdin: 1 << 60})
	stream(TypeData, Stdout, 7, "content")
	stream(TypeData, Stderr, 1<<63, string(make([]byte, MaxData)))
	stream(TypeAck, Stdin, 0, "")
	stream(TypeEOF, Stdout, 14, "")
	message(TypeResize, Size{Rows: 24, Cols: 80})
	message(TypeSignal, Signal{Signal: 15})
	message(TypeExit, Exit{Code: 3})
	before := len(data)
	data = AppendDone(data)
	want = append(want, Frame{TypeDone, data[before+headerLen:]})
	return data, want
}

func TestReader(t *testing.T) {
	data, want := frames(t)
	for name, in := range map[string]io.Reader{"whole": bytes.NewReader(data), "by bytes": iotest.OneByteReader(bytes.NewReader(data))} {
		r := NewReader(in)
		for i, w := range want {
			f, err := r.Read()
			if err != nil {
				t.Fatalf("%s: frame %d: %v", name, i, err)
			}
			if f.Type != w.Type || !bytes.Equal(f.Payload, w.Payload) {
				t.Errorf("%s: frame %d: type %d with %d bytes", name, i, f.Type, len(f.Payload))
			}
		}
		if _, err := r.Read(); err != io.EOF {
			t.Errorf("%s: at the end: %v", name, err)
		}
	}
}

// TestCutShort ends the bytes at each place: a clean end only between frames.
func TestCutShort(t *testing.T) {
	data := AppendStream(nil, TypeData, Stdout, 0, []byte("abc"))
	hello, err := AppendMessage(nil, TypeHello, Hello{})
	if err != nil {
		t.Fatal(err)
	}
	all := append(hello, data...)
	for n := range len(all) + 1 {
		r := NewReader(bytes.NewReader(all[:n]))
		var err error
		for err == nil {
			_, err = r.Read()
		}
		want := io.ErrUnexpectedEOF
		if n == 0 || n == len(hello) || n == len(all) {
			want = io.EOF
		}
		if err != want {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestLimits(t *testing.T) {
	hello, err := AppendMessage(nil, TypeHello, Hello{})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		first bool // no Hello before it
		head  []byte
	}{
		{"no hello", true, []byte{byte(TypeRequest), 0, 0, 0, 2}},
		{"long hello", true, []byte{byte(TypeHello), 0, 0, MaxHello>>8 + 1, 0}},
		{"second hello", false, []byte{byte(TypeHello), 0, 0, 0, 2}},
		{"type 0", false, []byte{0, 0, 0, 0, 0}},
		{"type 200", false, []byte{200, 0, 0, 0, 0}},
		{"long message", false, []byte{byte(TypeReply), 0, 0x40, 0, 1}},
		{"endless", false, []byte{byte(TypeExit), 255, 255, 255, 255}},
		{"long data", false, []byte{byte(TypeData), 0, 1, 0, streamLen + 1}},
		{"short data", false, []byte{byte(TypeData), 0, 0, 0, streamLen - 1}},
		{"long acknowledgement", false, []byte{byte(TypeAck), 0, 0, 0, streamLen + 1}},
		{"short end", false, []byte{byte(TypeEOF), 0, 0, 0, 0}},
		{"long signal", false, []byte{byte(TypeSignal), 0, 0, 1, 1}},
	} {
		in := bytes.Clone(hello)
		if test.first {
			in = nil
		}
		// What it claims to hold follows: it must be refused for its header.
		r := NewReader(io.MultiReader(bytes.NewReader(append(in, test.head...)), iotest.ErrReader(errors.New("read on"))))
		_, err := r.Read()
		if !test.first && err == nil {
			_, err = r.Read()
		}
		if !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	if _, err := AppendMessage(nil, TypeRequest, Request{Job: string(make([]byte, MaxMessage))}); err == nil {
		t.Error("a message that is too long was made")
	}
	if _, _, _, err := (Frame{TypeData, append([]byte{3}, make([]byte, 8)...)}).Stream(); !errors.Is(err, ErrProtocol) {
		t.Errorf("stream 3: %v", err)
	}
}

// TestClaim has a header claim much and send little: the buffer grows with what came.
func TestClaim(t *testing.T) {
	hello, err := AppendMessage(nil, TypeHello, Hello{})
	if err != nil {
		t.Fatal(err)
	}
	r := NewReader(bytes.NewReader(append(hello, byte(TypeReply), 0, 0x3f, 0xff, 0xff, 'x')))
	if _, err := r.Read(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(); err != io.ErrUnexpectedEOF {
		t.Errorf("Read: %v", err)
	}
	if cap(r.buf) > 128<<10 {
		t.Errorf("a buffer of %d bytes for one", cap(r.buf))
	}
}

func TestAgree(t *testing.T) {
	for host, want := range map[Hello]int{
		{Version: Version}:                       Version,
		{Version: Version + 5, Min: MinVersion}:  Version,
		{Version: Version + 5, Min: Version + 1}: 0,
		{Version: MinVersion - 1}:                0,
		{}:                                       0,
		{Version: -1, Min: -5}:                   0,
		{Version: Version, Min: MinVersion, Release: "v1.0"}: Version,
	} {
		if got := Agree(host); got != want {
			t.Errorf("Agree(%+v) = %d, want %d", host, got, want)
		}
	}
}

// TestBytes has arguments that are no text survive the way.
func TestBytes(t *testing.T) {
	want := Request{Op: OpExec, Exec: &Exec{Job: "j", Argv: [][]byte{{0xff, 0xfe, '\n'}, {}}, Env: [][]byte{[]byte("A=\x80")}}}
	b, err := AppendMessage(nil, TypeRequest, want)
	if err != nil {
		t.Fatal(err)
	}
	var got Request
	if err := (Frame{TypeRequest, b[headerLen:]}).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// FuzzReader reads arbitrary bytes: frames keep to the limits, and put together again are the bytes that were read.
func FuzzReader(f *testing.F) {
	data, _ := frames(f)
	f.Add(data)
	f.Add(data[:100])
	f.Add([]byte{byte(TypeHello), 0, 0, 0, 0, byte(TypeExit), 0, 0x3f, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		r := NewReader(bytes.NewReader(data))
		var again []byte
		for i := 0; ; i++ {
			frame, err := r.Read()
			if err != nil {
				break
			}
			if (i == 0) != (frame.Type == TypeHello) {
				t.Fatalf("frame %d is of type %d", i, frame.Type)
			}
			again = append(appendHeader(again, frame.Type, len(frame.Payload)), frame.Payload...)
			switch frame.Type {
			case TypeData, TypeAck, TypeEOF:
				s, offset, content, err := frame.Stream()
				if err != nil {
					continue
				}
				if s > Stderr || len(content) > MaxData || frame.Type != TypeData && len(content) > 0 {
					t.Fatalf("stream %d with %d bytes", s, len(content))
				}
				if !bytes.HasSuffix(again, AppendStream(nil, frame.Type, s, offset, content)) {
					t.Fatal("the frame is another when it is written again")
				}
			default:
				var v Reply
				frame.Decode(&v) // must not panic
			}
		}
		if !bytes.HasPrefix(data, again) {
			t.Error("what was read is not what came")
		}
		if cap(r.buf) > 2*len(data)+128<<10 {
			t.Errorf("a buffer of %d bytes for %d", cap(r.buf), len(data))
		}
	})
}
