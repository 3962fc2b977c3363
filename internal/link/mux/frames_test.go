package mux

import (
	"bytes"
	"io"
	"testing"
	"testing/iotest"
)

// TestFrames: what a guest sends comes through up to a ping, however it is cut. What looks like one in content is none.
func TestFrames(t *testing.T) {
	header := func(kind byte, length byte) []byte {
		return []byte{0, kind, 0, 0, 0, 0, 0, 1, 0, 0, 0, length}
	}
	ping := header(framePing, 9)
	fine := bytes.Join([][]byte{header(1, 200), header(frameData, headerLen), ping, header(frameData, 0), header(3, 0)}, nil)
	for what, cut := range map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r }, "halves": iotest.HalfReader, "bytes": iotest.OneByteReader,
	} {
		if got, err := io.ReadAll(&frames{in: cut(bytes.NewReader(fine))}); err != nil || !bytes.Equal(got, fine) {
			t.Errorf("%s: %x, %v", what, got, err)
		}
		if _, err := io.ReadAll(&frames{in: cut(bytes.NewReader(append(bytes.Clone(fine), ping...)))}); err == nil {
			t.Errorf("%s: a ping comes through", what)
		}
	}
}
