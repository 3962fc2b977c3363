package mcp

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// maxLine bounds a message of a client, in bytes.
const maxLine = 16 << 20

// Errors of JSON-RPC (https://www.jsonrpc.org/specification#error_object).
const (
	parseError     = -32700
	invalidRequest = -32600
)

// lines are the messages of a client, one a line. What is none it answers itself, and goes on: the SDK would end.
type lines struct {
	*io.PipeReader
	mu       sync.Mutex // of out
	out      io.WriteCloser
	closed   sync.Once
	closeErr error
}

func newLines(in io.Reader, out io.WriteCloser) *lines {
	r, w := io.Pipe()
	l := &lines{PipeReader: r, out: out}
	go func() {
		scanner := bufio.NewScanner(in)
		scanner.Buffer(make([]byte, 64<<10), maxLine)
		for scanner.Scan() {
			if line := bytes.TrimSpace(scanner.Bytes()); len(line) > 0 && l.accepts(line) {
				if _, err := w.Write(append(bytes.Clone(line), '\n')); err != nil {
					return
				}
			}
		}
		if scanner.Err() != nil {
			l.refuse(parseError, "a message longer than 16 MiB")
		}
		w.Close()
	}()
	return l
}

// accepts reports whether line is a message of JSON-RPC.
func (l *lines) accepts(line []byte) bool {
	var m struct {
		Version string          `json:"jsonrpc"`
		ID      json.RawMessage `json:"id"`
		Method  string          `json:"method"`
	}
	switch {
	case !json.Valid(line):
		l.refuse(parseError, "not JSON")
	case json.Unmarshal(line, &m) != nil || m.Version != "2.0" || m.Method == "" && m.ID == nil:
		l.refuse(invalidRequest, "not a message of JSON-RPC 2.0")
	default:
		return true
	}
	return false
}

func (l *lines) refuse(code int, message string) {
	l.Write(fmt.Appendf(nil, `{"jsonrpc":"2.0","id":null,"error":{"code":%d,"message":"noid mcp: %s"}}`+"\n", code, message))
}

// Write writes one message, with its end.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(p)
}

// Close implements io.Closer for both directions. The SDK calls it for each.
func (l *lines) Close() error {
	l.PipeReader.Close()
	l.closed.Do(func() { l.closeErr = l.out.Close() })
	return l.closeErr
}
