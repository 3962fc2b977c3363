package firecracker

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"unicode"
)

// FuzzAPI hears any answer of a Firecracker that a guest took over: no hang, and errors fit for a terminal.
func FuzzAPI(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n{\"state\":\"Running\"}",
		"HTTP/1.1 400 Bad Request\r\nContent-Length: 29\r\n\r\n{\"fault_message\":\"no\\u001b[3m\"}",
		"HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\nx",
		"HTTP/1.1 302 Found\r\nLocation: http://localhost/x\r\nContent-Length: 0\r\n\r\n", "HTTP/9.9 999 \x1b\r\n\r\n", "", "garbage",
		"HTTP/1.1 200 OK\r\n\r\n" + strings.Repeat("x", 70000), "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 5000) + "\r\n{}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var c client
		c.http.Transport = &http.Transport{DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 16 << 10,
			DialContext: func(context.Context, string, string) (net.Conn, error) {
				ours, theirs := net.Pipe()
				go io.Copy(io.Discard, theirs)
				go func() {
					theirs.Write(data)
					theirs.Close()
				}()
				return ours, nil
			}}
		c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		_, err := c.state(t.Context(), stateTimeout)
		// net/http quotes a malformed line or header, json a character.
		if err != nil && (len(err.Error()) > 2*maxBody || strings.ContainsFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) })) {
			t.Errorf("an error of %d bytes: %.300q", len(err.Error()), err)
		}
	})
}

// FuzzConnect hears any answer to a CONNECT: what follows the line is left for the agent's client.
func FuzzConnect(f *testing.F) {
	f.Add([]byte("OK 1073741824\nhello"))
	f.Add([]byte("no\n"))
	f.Add([]byte(strings.Repeat("O", 100)))
	f.Fuzz(func(t *testing.T, data []byte) {
		in := bytes.NewReader(data)
		err := ask(struct {
			io.Reader
			io.Writer
		}{in, io.Discard})
		if read := len(data) - in.Len(); read > maxAnswer || err == nil && data[read-1] != '\n' {
			t.Errorf("%d bytes read, %v", read, err)
		}
		if err == nil && !bytes.HasPrefix(data, []byte("OK ")) {
			t.Errorf("accepted %q", data)
		}
		if err != nil && (len(err.Error()) > 500 || strings.ContainsFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) })) {
			t.Errorf("error %q", err)
		}
	})
}

// FuzzRelease reads any output of `firecracker --version`.
func FuzzRelease(f *testing.F) {
	f.Add("Firecracker v1.16.1\n\nSupported snapshot data format versions: v8.0.0\n")
	f.Add("1.17.0-dev")
	f.Add("v99999.1.1 v1.2.3-")
	f.Fuzz(func(t *testing.T, s string) {
		v, ok := parseVersion(s)
		if !ok {
			return
		}
		if again, ok := parseVersion("v" + v.text); !ok || again != v || len(v.text) > 60 || strings.ContainsFunc(v.text, unicode.IsSpace) {
			t.Errorf("%q is %+v, again %+v", s, v, again)
		}
	})
}
