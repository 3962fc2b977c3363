package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// hostile is a 'noid serve' with a token, and one on a unix socket, that are attacked.
type hostile struct {
	noid
	ctx            context.Context
	address, token string // of loopback
	socket         string
	client         *http.Client
	done           sync.Map // how often each attack has come to its end
}

// TestServeHostile attacks 'noid serve' for NOID_TEST_HOSTILE (such as "1h"): by other names and other pages, by smuggled
// and giant and slow requests, by abused WebSockets, by many connections and by clients that go. The server answers all
// along, and afterwards it has no more memory, descriptors and goroutines than after the first tenth of the time.
func TestServeHostile(t *testing.T) {
	text := os.Getenv("NOID_TEST_HOSTILE")
	if text == "" {
		t.Skip("NOT RUN: NOID_TEST_HOSTILE is not set ('make torture' does)")
	}
	duration, err := time.ParseDuration(text)
	check(t, err)
	h := newHostile(t)
	attacks := map[string]func(*rand.Rand){"names": h.names, "smuggling": h.smuggling, "giants": h.giants, "slow senders": h.slow, "slow readers": h.slowReaders,
		"websockets": h.sockets, "connections": h.connections, "killed clients": h.killed, "other users": h.others, "strangers": h.strangers}
	h.attack(duration/10, attacks)
	before := h.numbers()
	h.attack(duration*9/10, attacks)
	after := h.numbers()
	for name := range attacks {
		n, ok := h.done.Load(name)
		if !ok {
			t.Fatalf("%s: not once", name)
		}
		t.Logf("%s: %d times", name, n.(*atomic.Int64).Load())
	}
	for name, most := range map[string]float64{"process_open_fds": before["process_open_fds"] + 5, "go_goroutines": before["go_goroutines"] + 10,
		"process_resident_memory_bytes": before["process_resident_memory_bytes"]*1.5 + 16<<20, "noid_http_requests_in_flight": 1, "noid_execs_running": 0} {
		t.Logf("%s: %.0f, then %.0f", name, before[name], after[name])
		if after[name] > most {
			t.Errorf("%s grows from %.0f to %.0f", name, before[name], after[name])
		}
	}
	h.equal("a command at last", "well\n", h.want(0, "exec", "a", "echo", "well"))
}

func newHostile(t *testing.T) *hostile {
	h := &hostile{noid: setup(t)}
	h.want(0, "create", "a", "--wait", "--mem", "256", "--net", "none")
	h.want(0, "exec", "a", "--", "sh", "-c", "dd if=/dev/zero of=/root/big bs=1M count=16 2>/dev/null")
	h.socket = filepath.Join(h.home, "serve.sock")
	for _, flags := range [][]string{{"serve", "--listen", "127.0.0.1:0", "--metrics"}, {"serve", "--metrics"}} {
		cmd := h.cmd(context.Background(), flags...)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		check(t, err)
		check(t, cmd.Start())
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		line, err := bufio.NewReader(out).ReadString('\n')
		check(t, err)
		if where, token, found := strings.Cut(strings.TrimSpace(line), "/#token="); found {
			h.address, h.token = strings.TrimPrefix(where, "http://"), token
		}
	}
	h.client = &http.Client{Timeout: time.Minute}
	return h
}

// attack has each attack made again and again, by two at a time, while somebody asks how the server is.
func (h *hostile) attack(duration time.Duration, attacks map[string]func(*rand.Rand)) {
	ctx, cancel := context.WithTimeout(h.t.Context(), duration)
	defer cancel()
	h.ctx = ctx
	var all sync.WaitGroup
	for name, attack := range attacks {
		n, _ := h.done.LoadOrStore(name, &atomic.Int64{})
		for i := range 2 {
			all.Go(func() {
				for rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), uint64(i))); ctx.Err() == nil; n.(*atomic.Int64).Add(1) {
					attack(rng)
				}
			})
		}
	}
	all.Go(func() {
		for ctx.Err() == nil {
			if status, body := h.ask("/v1/vms", nil); status != 200 || !strings.Contains(body, `"name":"a"`) {
				h.t.Errorf("in the middle of it: %d, %.300s", status, body)
			}
			time.Sleep(time.Second)
		}
	})
	all.Wait()
}

// ask asks the server on loopback, which knows this client.
func (h *hostile) ask(path string, change func(*http.Request)) (status int, body string) {
	r, err := http.NewRequest("GET", "http://"+h.address+path, nil)
	check(h.t, err)
	r.Header.Set("Authorization", "Bearer "+h.token)
	if change != nil {
		change(r)
	}
	a, err := h.client.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer a.Body.Close()
	data, _ := io.ReadAll(io.LimitReader(a.Body, 1<<20))
	return a.StatusCode, string(data)
}

// numbers are the server's metrics, once what was attacked is over.
func (h *hostile) numbers() map[string]float64 {
	h.client.CloseIdleConnections()
	n := map[string]float64{}
	h.until("all requests have ended", func() bool {
		status, text := h.ask("/metrics", nil)
		for line := range strings.Lines(text) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			n[name], _ = strconv.ParseFloat(value, 64)
		}
		return status == 200 && n["noid_http_requests_in_flight"] == 1 && n["noid_execs_running"] == 0
	})
	time.Sleep(15 * time.Second) // connections that say nothing are cut after 10
	_, text := h.ask("/metrics", nil)
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		n[name], _ = strconv.ParseFloat(value, 64)
	}
	return n
}

// raw sends text to one of the servers and returns what comes within wait, or until the server closes.
func (h *hostile) raw(rng *rand.Rand, text string, wait time.Duration) string {
	conn := h.dial(rng)
	if conn == nil {
		return ""
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(wait))
	go io.WriteString(conn, text)
	data, _ := io.ReadAll(io.LimitReader(conn, 1<<20))
	return string(data)
}

// dial connects to one of the servers, or returns nil: they have no more than so many connections.
func (h *hostile) dial(rng *rand.Rand) net.Conn {
	network, address := "tcp", h.address
	if rng.IntN(2) == 0 {
		network, address = "unix", h.socket
	}
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).Dial(network, address)
	if err != nil {
		return nil
	}
	return conn
}

func (h *hostile) auth() string { return "Authorization: Bearer " + h.token + "\r\n" }

// names asks by what a page of another site can have a browser send.
func (h *hostile) names(rng *rand.Rand) {
	for header, value := range map[string]string{"Host": "evil.example", "Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"} {
		status, body := h.ask("/v1/vms", func(r *http.Request) {
			if header == "Host" {
				r.Host = value
			} else {
				r.Header.Set(header, value)
			}
		})
		if status == 200 {
			h.t.Errorf("%s: %s is let in: %.200s", header, value, body)
		}
	}
}

// strangers have no token, or another one.
func (h *hostile) strangers(rng *rand.Rand) {
	for _, token := range []string{"", "Bearer ", "Bearer " + h.token[1:], "Bearer " + strings.Repeat("x", 10_000)} {
		if status, body := h.ask("/v1/vms", func(r *http.Request) { r.Header.Set("Authorization", token) }); status == 200 {
			h.t.Errorf("%.40q is let in: %.200s", token, body)
		}
	}
	if conn, err := net.Dial("tcp", h.address); err == nil { // and does not send the body that it has promised
		io.WriteString(conn, "POST /v1/vms HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n")
		conn.SetDeadline(time.Now().Add(time.Duration(rng.IntN(40)) * time.Second))
		io.Copy(io.Discard, conn)
		conn.Close()
	}
}

// smuggling has a request hide in another.
func (h *hostile) smuggling(rng *rand.Rand) {
	hidden := "POST /v1/vms HTTP/1.1\r\nHost: localhost\r\n" + h.auth() + "Content-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"name\":\"evil\"}"
	for _, text := range []string{
		"Content-Length: " + fmt.Sprint(len(hidden)+5) + "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
		"Content-Length: 0\r\nContent-Length: " + fmt.Sprint(len(hidden)) + "\r\n\r\n" + hidden,
		"Transfer-Encoding: xchunked\r\nContent-Length: " + fmt.Sprint(len(hidden)) + "\r\n\r\n" + hidden,
		"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n" + hidden,
		"Transfer-Encoding: chunked\r\n\r\n-1\r\n" + hidden,
		"X\r\n\r\n" + hidden, "\x00: x\r\n\r\n" + hidden,
	} {
		if got := h.raw(rng, "POST /v1/vms/none/undo HTTP/1.1\r\nHost: localhost\r\n"+h.auth()+text, 3*time.Second); strings.Contains(got, "201 Created") {
			h.t.Errorf("smuggled by %.80q: %.300q", text, got)
		}
	}
	if status, _ := h.ask("/v1/vms/evil", nil); status == 200 {
		h.t.Error("a VM was made by a request that hid in another")
	}
}

// giants sends headers and bodies that are too large.
func (h *hostile) giants(rng *rand.Rand) {
	big := strings.Repeat("x", 1<<20)
	for _, text := range []string{
		"GET /v1/vms HTTP/1.1\r\nHost: localhost\r\nX: " + big + "\r\n\r\n",
		"GET /" + big + " HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"POST /v1/vms HTTP/1.1\r\nHost: localhost\r\n" + h.auth() + "Content-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n{\"name\":\"" + big + big,
		"POST /v1/vms HTTP/1.1\r\nHost: localhost\r\n" + h.auth() + "Content-Type: application/json\r\nContent-Length: 1000000\r\n\r\n" + strings.Repeat("[", 1_000_000),
		"GET /v1/vms HTTP/1.1\r\nHost: localhost\r\n" + strings.Repeat("A: b\r\n", 20_000) + "\r\n",
	} {
		if got := h.raw(rng, text, 5*time.Second); strings.HasPrefix(got, "HTTP/1.1 2") || strings.HasPrefix(got, "HTTP/1.1 500") {
			h.t.Errorf("%.60q: %.200q", text, got)
		}
	}
}

// slow sends a header or a body, a byte now and then.
func (h *hostile) slow(rng *rand.Rand) {
	conn := h.dial(rng)
	if conn == nil {
		return
	}
	defer conn.Close()
	io.WriteString(conn, []string{"GET /v1/vms HTTP/1.1\r\nX: ", "POST /v1/vms HTTP/1.1\r\nHost: localhost\r\n" + h.auth() + "Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n",
		"PUT /v1/vms/a/files?path=/tmp/slow HTTP/1.1\r\nHost: localhost\r\n" + h.auth() + "Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n"}[rng.IntN(3)])
	for end := time.Now().Add(time.Duration(rng.IntN(40)) * time.Second); time.Now().Before(end) && h.ctx.Err() == nil; time.Sleep(500 * time.Millisecond) {
		if _, err := io.WriteString(conn, []string{"1", "1\r\n", "x\r\n"}[rng.IntN(3)]); err != nil {
			return
		}
	}
}

// slowReaders ask for much and read nothing.
func (h *hostile) slowReaders(rng *rand.Rand) {
	conn := h.dial(rng)
	if conn == nil {
		return
	}
	defer conn.Close()
	const command = `{"command":"yes"}`
	io.WriteString(conn, []string{"GET /v1/vms/a/files?path=/root/big HTTP/1.1\r\nHost: localhost\r\n" + h.auth() + "\r\n", "GET /v1/events HTTP/1.1\r\nHost: localhost\r\n" + h.auth() + "\r\n",
		"POST /v1/vms/a/exec HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nContent-Type: application/json\r\n" + h.auth() + "Content-Length: " + fmt.Sprint(len(command)) + "\r\n\r\n" + command}[rng.IntN(3)])
	for end := time.Now().Add(time.Duration(rng.IntN(40)) * time.Second); time.Now().Before(end) && h.ctx.Err() == nil; {
		time.Sleep(100 * time.Millisecond)
	}
}

// sockets opens a WebSocket and sends frames that are none, or too large, or endless.
func (h *hostile) sockets(rng *rand.Rand) {
	conn := h.dial(rng)
	if conn == nil {
		return
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(15 * time.Second))
	io.WriteString(conn, "GET /v1/vms/a/"+[]string{"exec", "shell", "console"}[rng.IntN(3)]+" HTTP/1.1\r\nHost: localhost\r\n"+h.auth()+
		"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: noid.v1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	in := bufio.NewReader(conn)
	if line, err := in.ReadString('\n'); err != nil || !strings.Contains(line, " 101 ") && !strings.Contains(line, " 429 ") {
		if err == nil {
			h.t.Errorf("a WebSocket: %q", line)
		}
		return
	}
	frame := func(first byte, payload string) []byte { // masked by zeros
		switch n := len(payload); {
		case n < 126:
			return append([]byte{first, 0x80 | byte(n), 0, 0, 0, 0}, payload...)
		case n < 1<<16:
			return append([]byte{first, 0x80 | 126, byte(n >> 8), byte(n), 0, 0, 0, 0}, payload...)
		default:
			return append([]byte{first, 0x80 | 127, 0, 0, 0, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n), 0, 0, 0, 0}, payload...)
		}
	}
	const text, binary, ping, more = 0x81, 0x82, 0x89, 0x00
	if rng.IntN(3) > 0 {
		conn.Write(frame(text, `{"type":"start"`+[]string{"", `,"command":"cat"`, `,"command":"sleep 1000"`, `,"command":"yes"`}[rng.IntN(4)]+`}`))
	}
	switch rng.IntN(8) {
	case 0: // unmasked
		conn.Write([]byte{binary, 2, 0, 'x'})
	case 1: // as long as there is
		conn.Write([]byte{binary, 0x80 | 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0})
	case 2:
		conn.Write(frame(binary, "\x00"+strings.Repeat("x", 2<<20)))
	case 3: // fragments without end
		conn.Write(frame(0x02, "\x00"))
		for range 2000 {
			if _, err := conn.Write(frame(more, strings.Repeat("x", 1000))); err != nil {
				break
			}
		}
	case 4:
		for range 20_000 {
			if _, err := conn.Write(frame(ping, "x")); err != nil {
				break
			}
		}
	case 5: // input for who reads none
		for range 100 {
			if _, err := conn.Write(frame(binary, "\x00"+strings.Repeat("x", 100_000))); err != nil {
				break
			}
		}
	case 6:
		for range 1000 {
			conn.Write(frame(text, `{"type":"resize","cols":65535,"rows":65535}`))
			conn.Write(frame(text, `{"type":"signal","signal":"WINCH"}`))
		}
	case 7:
		junk := make([]byte, 10_000)
		for i := range junk {
			junk[i] = byte(rng.Uint32())
		}
		conn.Write(junk)
	}
	if rng.IntN(2) == 0 {
		conn.SetDeadline(time.Now().Add(time.Duration(rng.IntN(3)) * time.Second))
		io.Copy(io.Discard, in)
	}
}

// connections opens more of them than there may be.
func (h *hostile) connections(rng *rand.Rand) {
	var all []net.Conn
	for range 200 {
		if conn := h.dial(rng); conn != nil {
			all = append(all, conn)
		}
	}
	time.Sleep(time.Duration(rng.IntN(2000)) * time.Millisecond)
	for _, conn := range all {
		conn.Close()
	}
	time.Sleep(5 * time.Second) // others are to have their turn
}

// killed goes in the middle of a command, with an Idempotency-Key or without.
func (h *hostile) killed(rng *rand.Rand) {
	conn := h.dial(rng)
	if conn == nil {
		return
	}
	defer conn.Close()
	command := []string{`{"command":"yes"}`, `{"command":"sleep 1000"}`, `{"command":"cat","input":"x"}`}[rng.IntN(3)]
	fmt.Fprintf(conn, "POST /v1/vms/a/exec HTTP/1.1\r\nHost: localhost\r\nAccept: %s\r\nIdempotency-Key: %d\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s",
		[]string{"text/event-stream", "application/json"}[rng.IntN(2)], rng.Uint64(), h.auth(), len(command), command)
	conn.SetDeadline(time.Now().Add(time.Duration(rng.IntN(1500)) * time.Millisecond))
	io.CopyN(io.Discard, conn, 1<<20)
}

// others connects as another user, which root alone can.
func (h *hostile) others(rng *rand.Rand) {
	defer time.Sleep(time.Second)
	if os.Geteuid() != 0 {
		return
	}
	said := make(chan string)
	go func() {
		runtime.LockOSThread() // and the thread ends with the goroutine: it is nobody's any more
		defer close(said)
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534); e != 0 {
			return
		}
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return
		}
		defer unix.Close(fd)
		if unix.Connect(fd, &unix.SockaddrUnix{Name: h.socket}) != nil {
			return
		}
		unix.Write(fd, []byte("GET /v1/vms HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
		b := make([]byte, 1000)
		n, _ := unix.Read(fd, b)
		said <- string(b[:max(n, 0)])
	}()
	if text := <-said; strings.Contains(text, "HTTP/") {
		h.t.Errorf("another user is answered: %.200q", text)
	}
}
