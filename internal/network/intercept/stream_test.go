package intercept

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"noid/internal/network/grant"
)

// TestEvents passes each server-sent event on before the next one is made.
func TestEvents(t *testing.T) {
	both(t, func(t *testing.T, http2 bool) {
		next := make(chan bool)
		w := newWorld(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			http.NewResponseController(w).Flush()
			for n := 0; <-next; n++ {
				fmt.Fprintf(w, "data: %d %s\n\n", n, r.Header.Get("Authorization"))
				http.NewResponseController(w).Flush()
			}
		}, nil)
		resp, err := w.client(http2).Do(w.request("GET", "/", nil))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		in := bufio.NewReader(resp.Body)
		for n := range 3 {
			next <- true
			line, err := in.ReadString('\n')
			if want := fmt.Sprintf("data: %d Bearer %s\n", n, w.grant.Placeholder); err != nil || line != want {
				t.Fatalf("%q, want %q: %v", line, want, err)
			}
			in.ReadString('\n')
		}
		close(next)
	})
}

// TestBothWays is a gRPC call: HTTP/2, each message answered before the next one is sent, the status in a trailer. A message
// that ends as the value begins is not held back.
func TestBothWays(t *testing.T) {
	w := newWorld(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Te") != "trailers" || r.Header.Get("Grpc-Accept-Encoding") != "identity" || r.Header.Get("Authorization") != "Bearer "+value {
			t.Errorf("the host saw %v", r.Header)
		}
		w.Header().Set("Content-Type", "application/grpc")
		http.NewResponseController(w).Flush()
		for buf := make([]byte, 8); ; {
			if _, err := io.ReadFull(r.Body, buf); err != nil {
				break
			}
			w.Write(buf)
			http.NewResponseController(w).Flush()
		}
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
		w.Header().Set(http.TrailerPrefix+"Grpc-Message", value)
	}, nil)
	in, out := io.Pipe()
	r := w.request("POST", "/pkg.Service/Call", in)
	r.Header.Set("Content-Type", "application/grpc")
	r.Header.Set("Te", "trailers")
	r.Header.Set("Grpc-Accept-Encoding", "gzip")
	resp, err := w.client(true).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for _, message := range []string{"message1", "message" + value[:1], "mess" + value[:4], value[:8]} {
		buf := make([]byte, 8)
		if _, err := io.WriteString(out, message); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != message {
			t.Fatalf("%q came back as %q: %v", message, buf, err)
		}
	}
	out.Close()
	if rest, err := io.ReadAll(resp.Body); len(rest) > 0 || err != nil {
		t.Errorf("%q, %v", rest, err)
	}
	if resp.Trailer.Get("Grpc-Status") != "0" || resp.Trailer.Get("Grpc-Message") != w.grant.Placeholder {
		t.Errorf("trailers %v", resp.Trailer)
	}
}

// TestWebSocket upgrades a connection, with the value in its request, and takes it out of what the server says.
func TestWebSocket(t *testing.T) {
	w := newWorld(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+value || r.Header.Get("Sec-WebSocket-Extensions") != "" {
			t.Errorf("the host saw %v", r.Header)
		}
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Alt-Svc", `h3=":443"`)
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, both, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		for {
			line, err := both.ReadString('\n')
			if err != nil {
				return
			}
			fmt.Fprintf(conn, "%s %s", value, line)
		}
	}, nil)
	c := w.tls()
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s:%d\r\nAuthorization: Bearer %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
		host, w.port, w.grant.Placeholder)
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(resp, err)
	}
	if got := resp.Header.Get("Alt-Svc"); got != "" {
		t.Errorf("the guest is sent past the interception: %s", got)
	}
	for n := range 3 {
		fmt.Fprintf(c, "%d\n", n)
		if line, err := in.ReadString('\n'); err != nil || line != fmt.Sprintf("%s %d\n", w.grant.Placeholder, n) {
			t.Fatalf("%q, %v", line, err)
		}
	}
	if uses := w.logged(); len(uses) != 1 || uses[0].Status != 101 {
		t.Errorf("%v", uses)
	}
}

// TestBrokenServer passes it on that a body broke off, and hides what was no HTTP.
func TestBrokenServer(t *testing.T) {
	both(t, func(t *testing.T, http2 bool) {
		w := newWorld(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "half")
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, nil)
		resp, err := w.client(http2).Do(w.request("GET", "/", nil))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if got, err := io.ReadAll(resp.Body); err == nil || string(got) != "half" {
			t.Errorf("%q, %v", got, err)
		}
	})
	w := newWorld(t, nil, nil)
	w.server.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		conn, _, _ := http.NewResponseController(rw).Hijack()
		fmt.Fprintf(conn, "HTTP/1.1 %s\r\n\r\n", r.Header.Get("Authorization"))
		conn.Close()
	})
	w.transport.TLSClientConfig.NextProtos, w.transport.ForceAttemptHTTP2 = nil, false
	if resp, body := w.do(w.client(false), w.request("GET", "/", nil)); resp.StatusCode != http.StatusBadGateway || !strings.Contains(body, "no HTTP") {
		t.Errorf("%s %q", resp.Status, body)
	}
}

// TestSmuggling has the host see the requests that noid saw: none is hidden in what one of them takes for a body.
func TestSmuggling(t *testing.T) {
	w := newWorld(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if r.URL.Path != "/" {
			t.Errorf("the host was asked for %s", r.URL.Path)
		}
	}, func(r *grant.Rules) { r.Allow = []string{"POST /"} })
	for _, headers := range []string{
		"Content-Length: 4\r\nTransfer-Encoding: chunked", "Content-Length: 4\r\nContent-Length: 50", "Transfer-Encoding: chunked, identity",
		"Transfer-Encoding : chunked", "Content-Length: +4", "X: " + strings.Repeat("a", 1<<20),
	} {
		c := w.tls()
		go fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: %s:%d\r\n%s\r\n\r\n0\r\n\r\n"+
			"GET /hidden HTTP/1.1\r\nHost: %[1]s:%[2]d\r\nAuthorization: %[4]s\r\nConnection: close\r\n\r\n", host, w.port, headers, w.grant.Placeholder)
		if got, _ := io.ReadAll(c); bytes.Count(got, []byte("HTTP/1.1 2")) > 1 {
			t.Errorf("%.40s: %.200s", headers, got)
		}
	}
}

// TestPassThrough leaves everything but a secret's host alone: the guest speaks to the server that it dialled, and either
// may end its half first.
func TestPassThrough(t *testing.T) {
	w := newWorld(t, func(http.ResponseWriter, *http.Request) { t.Error("intercepted") }, nil)
	other := authority(t)
	leaf, err := other.Leaf("other.example.test")
	if err != nil {
		t.Fatal(err)
	}
	w.rest = func(c net.Conn) {
		defer c.Close()
		s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{*leaf}})
		data, err := io.ReadAll(s)
		fmt.Fprintf(s, "%d %v", len(data), err)
		s.Close()
	}
	c, err := tls.Dial("tcp", w.front, &tls.Config{ServerName: "other.example.test", RootCAs: pool(other)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() {
		io.CopyN(c, zeros{}, 1<<20)
		c.CloseWrite()
	}()
	if got, err := io.ReadAll(c); err != nil || string(got) != fmt.Sprint(1<<20, " <nil>") {
		t.Errorf("%q, %v", got, err)
	}
}

// TestAwaits has a connection wait for the secrets that are to come: it is intercepted then.
func TestAwaits(t *testing.T) {
	i := New(Options{Awaits: true})
	defer i.Close()
	if !i.Wants(grant.DefaultPort) || i.Wants(80) || !i.Plain("other.test") {
		t.Error("it does not wait for secrets")
	}
	handled, read := make(chan net.Conn), make(chan bool, 1)
	go func() {
		rest, _ := i.Handle(&memory{Reader: tells{bytes.NewReader(hellos(t)["example.test"]), read}}, grant.DefaultPort)
		handled <- rest
	}()
	<-read
	i.Set(authority(t), []grant.Grant{{Rules: grant.Rules{Hosts: []string{"example.test"}}}})
	if rest := <-handled; rest != nil {
		t.Error("a connection is handed on")
	}
	if !i.Plain("example.test") || i.Plain("other.test") {
		t.Error("it does not know its hosts")
	}
}

// tells says when it is read.
type tells struct {
	io.Reader
	read chan bool
}

func (r tells) Read(b []byte) (int, error) {
	select {
	case r.read <- true:
	default:
	}
	return r.Reader.Read(b)
}

// hellos are what a client may begin with.
func hellos(t testing.TB) map[string][]byte {
	record := func(name string) []byte {
		a, b := net.Pipe()
		go tls.Client(a, &tls.Config{ServerName: name, InsecureSkipVerify: true}).Handshake()
		buf := make([]byte, 64<<10)
		n, err := b.Read(buf)
		a.Close()
		if err != nil {
			t.Fatal(err)
		}
		return buf[:n]
	}
	hello := record("Example.TEST")
	pieces := []byte{}
	for _, b := range hello[5:] { // a record for each byte
		pieces = append(pieces, 22, 3, 1, 0, 1, b)
	}
	return map[string][]byte{"example.test": hello, "example.test in pieces": pieces, " none": record(""), " http": []byte("GET / HTTP/1.1\r\n\r\n"),
		" empty": {}, " short": {22}, " cut": hello[:len(hello)/2], " nonsense": bytes.Repeat([]byte{22, 3, 1, 0, 4}, 50), " long": append([]byte{22, 3, 1, 0xff, 0xff}, hello...)}
}

// TestPeek finds the server's name and loses no byte, nor the end.
func TestPeek(t *testing.T) {
	for want, data := range hellos(t) {
		c := &memory{Reader: bytes.NewReader(data)}
		p, err := peek(c, 443)
		if err != nil {
			t.Errorf("%s: %v", want, err)
			continue
		}
		got, err := io.ReadAll(p)
		if name, _, _ := strings.Cut(want, " "); err != nil || !bytes.Equal(got, data) || p.name != name || !c.deadline.IsZero() {
			t.Errorf("%s: name %q, %d of %d bytes, %v", want, p.name, len(got), len(data), err)
		}
		if p.CloseWrite(); !c.ended {
			t.Error("the half is not closed")
		}
	}
}

// TestPeekHostile gives up on a hello that does not end, and hands on a client that waits for the server.
func TestPeekHostile(t *testing.T) {
	endless := io.MultiReader(bytes.NewReader([]byte{22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff}), zeros{})
	for name, r := range map[string]io.Reader{"endless": endless, "stalled": io.MultiReader(bytes.NewReader([]byte{22, 3, 1, 1}), silent{}),
		"empty records": records{}} {
		c := &memory{Reader: r}
		if p, err := peek(c, 443); err == nil && (p.name != "" || len(p.first) > maxHello) {
			t.Errorf("%s: %v, %v", name, p, err)
		} else if name == "stalled" && err == nil {
			t.Error("a hello that stalls is handed on")
		}
	}
	if p, err := peek(&memory{Reader: silent{}}, 443); err != nil || p.name != "" {
		t.Errorf("a client that waits: %v", err)
	}
	if _, err := peek(&memory{Reader: io.MultiReader(errReader{})}, 443); err == nil {
		t.Error("a connection that was reset is handed on")
	}
}

// memory is a connection that reads from a Reader.
type memory struct {
	net.Conn
	io.Reader
	deadline time.Time
	ended    bool
}

func (m *memory) Read(b []byte) (int, error)           { return m.Reader.Read(b) }
func (m *memory) SetReadDeadline(when time.Time) error { m.deadline = when; return nil }
func (m *memory) SetDeadline(time.Time) error          { return nil }
func (m *memory) SetWriteDeadline(time.Time) error     { return nil }
func (m *memory) Write(b []byte) (int, error)          { return len(b), nil }
func (m *memory) RemoteAddr() net.Addr                 { return &net.TCPAddr{} }
func (m *memory) LocalAddr() net.Addr                  { return &net.TCPAddr{} }
func (m *memory) CloseWrite() error                    { m.ended = true; return nil }
func (m *memory) Close() error                         { return nil }

type silent struct{}

func (silent) Read([]byte) (int, error) { return 0, os.ErrDeadlineExceeded }

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("reset") }

// records are handshake records of no bytes.
type records struct{}

func (records) Read(b []byte) (int, error) {
	return copy(b, []byte{22, 3, 1, 0, 0}), nil
}

func FuzzHello(f *testing.F) {
	for _, data := range hellos(f) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := peek(&memory{Reader: bytes.NewReader(data)}, 443)
		if err != nil {
			return
		}
		if got, err := io.ReadAll(p); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d of %d bytes, %v", len(got), len(data), err)
		}
	})
}

// TestReplacer replaces across every border, and tells of two texts that begin alike.
func TestReplacer(t *testing.T) {
	pairs := [][2]string{{"abcab", "<1>"}, {"abcabc", "<2>"}, {"xx", "<3>"}}
	text := "abcabcabcab ab abca xxx abcabd" + strings.Repeat("abcab", 3) + "xabc"
	if got, want := replaceAll(pairs, text), "<2><1> ab abca <3>x <1>d<1><1><1>xabc"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	one := pairs[1:2]
	for size := 1; size <= len(text); size++ {
		b := newBody(io.NopCloser(&chunks{text, size}), one)
		if got, err := io.ReadAll(b); err != nil || string(got) != strings.ReplaceAll(text, one[0][0], one[0][1]) {
			t.Errorf("in pieces of %d: %q, %v", size, got, err)
		}
	}
}

// chunks reads so many bytes at a time.
type chunks struct {
	text string
	size int
}

func (c *chunks) Read(b []byte) (int, error) {
	n := copy(b, c.text[:min(c.size, len(c.text))])
	if c.text = c.text[n:]; n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// TestPauses has a stream pause after each number of a value's bytes: a few of them may pass, and never what says the rest.
func TestPauses(t *testing.T) {
	for _, value := range []string{value, "hunter22", "kkkkkkkkkkkkkkkkkkk1", "a+b/c?d&e f%g"} {
		g := grant.Grant{Value: value, Placeholder: grant.NewPlaceholder(value)}
		for n, p := range g.Masks() {
			same := 0
			for same < len(p[0]) && p[0][same] == p[1][same] {
				same++
			}
			most := same + min(certain, len(p[0])/2) - 1
			for first := 1; first < len(p[0]); first++ {
				for second := first; second < len(p[0]); second++ {
					r := &replacer{pairs: g.Masks(), masks: true}
					got := string(r.feed([]byte("before "+p[0][:first]), false)) + string(r.release()) + string(r.release())
					got += string(r.feed([]byte(p[0][first:second]), false)) + string(r.release())
					got += string(r.feed([]byte(p[0][second:]+" after"), true))
					if len(got) != len("before  after")+len(p[0]) || !strings.HasPrefix(got, "before ") || !strings.HasSuffix(got, " after") {
						t.Fatalf("form %d of %q, paused after %d and %d: %q", n, value, first, second, got)
					}
					got = got[len("before "):]
					for i := most; i < len(p[0]) && got[i] == p[0][i]; i++ {
						if got[i] != p[1][i] { // else the mask happens to have it too
							t.Errorf("form %d of %q, paused after %d and %d: %q shows byte %d", n, value, first, second, got, i)
							break
						}
					}
				}
			}
		}
	}
}

// TestStalls is a guest that has the host pause wherever it wants, by reading late. What comes after the pause is what the
// placeholder has there.
func TestStalls(t *testing.T) {
	for _, at := range []int{6, 20} { // what is too short to be sure of passes as it is
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			t.Parallel()
			read := make(chan bool)
			w := newWorld(t, func(w http.ResponseWriter, r *http.Request) {
				io.CopyN(w, zeros{}, 1<<20)
				io.WriteString(w, value[:at])
				http.NewResponseController(w).Flush()
				<-read
				io.WriteString(w, value[at:])
				io.CopyN(w, zeros{}, 1<<20)
			}, nil)
			resp, err := w.client(true).Do(w.request("GET", "/", nil))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if _, err := io.CopyN(io.Discard, resp.Body, 1<<20); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(value))
			if _, err := io.ReadFull(resp.Body, got[:at]); err != nil {
				t.Fatal(err)
			}
			close(read)
			if _, err := io.ReadFull(resp.Body, got[at:]); err != nil {
				t.Fatal(err)
			}
			want := w.grant.Placeholder
			if at < certain {
				want = value[:at] + want[at:]
			}
			if string(got) != want {
				t.Errorf("the guest saw %q, want %q", got, want)
			}
			if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != 1<<20 {
				t.Errorf("%d bytes followed, %v", n, err)
			}
		})
	}
}

// FuzzReplace finds that no form of a value is left, that nothing else changes, and that the pieces do not matter.
func FuzzReplace(f *testing.F) {
	f.Add([]byte("a "+value+" b"), uint8(3))
	f.Add([]byte(value[:20]+value), uint8(1))
	g := grant.Grant{Value: value, Placeholder: "ghp_16C7e42F292c6912E7710c838347Ae178000"}
	f.Fuzz(func(t *testing.T, data []byte, size uint8) {
		pairs := g.Masks()
		got, err := io.ReadAll(newMasked(io.NopCloser(&chunks{string(data), int(size) + 1}), func() [][2]string { return pairs }))
		if err != nil || len(got) != len(data) {
			t.Fatalf("%d of %d bytes, %v", len(got), len(data), err)
		}
		if whole := replaceAll(pairs[:1], string(data)); whole != string(bytes.ReplaceAll(data, []byte(pairs[0][0]), []byte(pairs[0][1]))) {
			t.Errorf("%q became %q", data, whole)
		}
		paused := &replacer{pairs: pairs, masks: true}
		var slow []byte
		for piece := range slices.Chunk(data, int(size)+1) {
			slow = append(append(slow, paused.feed(bytes.Clone(piece), false)...), paused.release()...)
		}
		if slow = append(slow, paused.feed(nil, true)...); len(slow) != len(data) || bytes.Contains(slow, []byte(value)) {
			t.Errorf("with pauses %q became %q", data, slow)
		}
		for _, p := range pairs {
			if bytes.Contains(got, []byte(p[0])) {
				t.Errorf("%q is left in %q", p[0], got)
			}
		}
	})
}
