package mux

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	mrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// testPort is a virtio-serial port: the guest's end stays, hosts come and go, and neither end notices what the other
// does. What a host had sent when it left still reaches the guest, and what the guest had sent the next host.
type testPort struct {
	toGuest, toHost pipeFiles
}

type pipeFiles struct{ r, w *os.File }

func newTestPort(t testing.TB) *testPort {
	t.Helper()
	p := &testPort{}
	for _, f := range []*pipeFiles{&p.toGuest, &p.toHost} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		*f = pipeFiles{r, w}
		t.Cleanup(func() { r.Close(); w.Close() })
	}
	return p
}

// guest is the guest's device file.
func (p *testPort) guest() io.ReadWriteCloser { return twoFiles{p.toGuest.r, p.toHost.w} }

type twoFiles struct{ r, w *os.File }

func (f twoFiles) Read(b []byte) (int, error)  { return f.r.Read(b) }
func (f twoFiles) Write(b []byte) (int, error) { return f.w.Write(b) }
func (f twoFiles) Close() error                { return errors.Join(f.r.Close(), f.w.Close()) }

// host connects a new host process.
func (p *testPort) host(t testing.TB) net.Conn {
	t.Helper()
	open := func(f *os.File) *os.File {
		raw, err := f.SyscallConn() // not Fd, which would make the file blocking
		if err != nil {
			t.Fatal(err)
		}
		fd := -1
		if e := raw.Control(func(old uintptr) { fd, err = unix.Dup(int(old)) }); e != nil || err != nil {
			t.Fatal(e, err)
		}
		return os.NewFile(uintptr(fd), "port")
	}
	return &fileConn{twoFiles: twoFiles{open(p.toHost.r), open(p.toGuest.w)}}
}

type fileConn struct {
	twoFiles
	net.Conn // the rest of the interface, not called
}

func (c *fileConn) Read(b []byte) (int, error)  { return c.twoFiles.Read(b) }
func (c *fileConn) Write(b []byte) (int, error) { return c.twoFiles.Write(b) }
func (c *fileConn) Close() error                { return c.twoFiles.Close() }
func (c *fileConn) LocalAddr() net.Addr         { return addr{} }
func (c *fileConn) RemoteAddr() net.Addr        { return addr{} }

func limit(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// echoGuest is a guest that sends back what it gets.
func echoGuest(t testing.TB, p *testPort) net.Listener {
	l := Listen(p.guest())
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, struct{ io.Reader }{c})
			}()
		}
	}()
	return l
}

func connect(t testing.TB, p *testPort) *Session {
	t.Helper()
	s, err := Connect(limit(t), p.host(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func open(t testing.TB, s *Session) net.Conn {
	t.Helper()
	c, err := s.Open()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// roundTrip sends n bytes of src and compares what comes back, to the other side's close.
func roundTrip(c net.Conn, src io.Reader, n int64) error {
	sent, got := sha256.New(), sha256.New()
	done := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.MultiWriter(struct{ io.Writer }{c}, sent), io.LimitReader(src, n))
		if half, ok := c.(interface{ CloseWrite() error }); err == nil && ok {
			err = half.CloseWrite()
		}
		done <- err
	}()
	k, err := io.Copy(got, struct{ io.Reader }{c})
	if e := <-done; e != nil || err != nil {
		return errors.Join(e, err)
	}
	if k != n || !sameHash(sent, got) {
		return fmt.Errorf("%d bytes sent, %d came back, equal: %v", n, k, sameHash(sent, got))
	}
	return nil
}

func sameHash(a, b hash.Hash) bool { return bytes.Equal(a.Sum(nil), b.Sum(nil)) }

func TestBothWays(t *testing.T) {
	p := newTestPort(t)
	echoGuest(t, p)
	if err := roundTrip(open(t, connect(t, p)), rand.Reader, 64<<20); err != nil {
		t.Fatal(err)
	}
}

// markers is a stream of markers, whole and cut.
type markers struct{}

func (markers) Read(b []byte) (n int, err error) {
	for n < len(b) {
		n += copy(b[n:], marker[:1+mrand.N(markerLen)])
		if mrand.N(3) == 0 && n < len(b) {
			b[n] = byte(mrand.N(4))
			n++
		}
	}
	return n, nil
}

func TestMarkersInData(t *testing.T) {
	p := newTestPort(t)
	echoGuest(t, p)
	s := connect(t, p)
	for range 20 {
		if err := roundTrip(open(t, s), markers{}, 300_000); err != nil {
			t.Fatal(err)
		}
	}
	if bytes.Count(marker[:], marker[:1]) != 1 {
		t.Error("the marker's first byte occurs in it again: the scanner relies on that it does not")
	}
}

func TestManyAtOnce(t *testing.T) {
	p := newTestPort(t)
	echoGuest(t, p)
	s := connect(t, p)
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			c, err := s.Open()
			if err == nil {
				err = roundTrip(c, rand.Reader, 500_000)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// TestHostChanges leaves the port at random points of traffic in both directions.
func TestHostChanges(t *testing.T) {
	p := newTestPort(t)
	l := Listen(p.guest())
	t.Cleanup(func() { l.Close() })
	ends := make(chan error, 1000)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				go io.Copy(struct{ io.Writer }{c}, rand.Reader)
				buf := make([]byte, 1000)
				for {
					if _, err := c.Read(buf); err != nil {
						ends <- err
						return
					}
				}
			}()
		}
	}()
	for round := range 40 {
		port := p.host(t)
		s, err := Connect(limit(t), &leaves{Conn: port, after: mrand.N(200_000)})
		if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrClosed) { // it left while it resynchronised
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		c, err := s.Open()
		if errors.Is(err, ErrLost) { // it left while it opened
			s.Close()
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		go io.Copy(struct{ io.Writer }{c}, markers{})
		buf := make([]byte, 64<<10)
		for err == nil {
			_, err = c.Read(buf)
		}
		if !errors.Is(err, ErrLost) {
			t.Fatalf("round %d: the host's connection ended with %v", round, err)
		}
		s.Close()
	}
	c := open(t, connect(t, p))
	if _, err := io.ReadFull(c, make([]byte, 1<<20)); err != nil {
		t.Fatalf("after all the changes: %v", err)
	}
	for range 20 { // as many connections were taken by the guest at least
		select {
		case err := <-ends:
			if !errors.Is(err, ErrLost) {
				t.Fatalf("the guest's connection ended with %v: it would take that for a close", err)
			}
		case <-limit(t).Done():
			t.Fatal("the guest's connections do not end")
		}
	}
}

// leaves closes the port after some written bytes, in the middle of a write.
type leaves struct {
	net.Conn
	mu    sync.Mutex
	after int
}

func (l *leaves) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(b) > l.after {
		n, _ := l.Conn.Write(b[:l.after])
		l.after = 0
		l.Conn.Close()
		return n, os.ErrClosed
	}
	l.after -= len(b)
	return l.Conn.Write(b)
}

// TestBoot has the guest open the port long after the host began to ask, with a dead host's bytes before.
func TestBoot(t *testing.T) {
	p := newTestPort(t)
	stale := p.host(t)
	stale.Write(append([]byte("stale"), marker[:9]...))
	stale.Close()
	var s *Session
	connected := make(chan error, 1)
	go func() {
		var err error
		s, err = Connect(limit(t), p.host(t))
		connected <- err
	}()
	time.Sleep(700 * time.Millisecond) // more than one question is on its way
	echoGuest(t, p)
	if err := <-connected; err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := roundTrip(open(t, s), rand.Reader, 100_000); err != nil {
		t.Fatal(err)
	}
}

func TestConnectGivesUp(t *testing.T) {
	p := newTestPort(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Connect(ctx, p.host(t)); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("nobody answers: %v", err)
	}
}

// TestSlowReader has a guest that reads nothing: the sender stops, and other connections go on.
func TestSlowReader(t *testing.T) {
	p := newTestPort(t)
	l := Listen(p.guest())
	defer l.Close()
	s := connect(t, p)
	slow := open(t, s)
	held, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	slow.SetWriteDeadline(time.Now().Add(time.Second))
	n, err := slow.Write(make([]byte, 8<<20))
	if !errors.Is(err, os.ErrDeadlineExceeded) || n > 2*streamWindow {
		t.Fatalf("nobody reads: %d bytes written, %v", n, err)
	}
	go func() {
		c, _ := l.Accept()
		io.Copy(c, struct{ io.Reader }{c})
		c.Close()
	}()
	if err := roundTrip(open(t, s), rand.Reader, 1<<20); err != nil {
		t.Fatalf("another connection: %v", err)
	}
	held.Close()
	slow.Close()
}

func TestEnds(t *testing.T) {
	p := newTestPort(t)
	l := Listen(p.guest())
	defer l.Close()
	s := connect(t, p)
	pair := func() (host, guest net.Conn) {
		host = open(t, s)
		guest, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return host, guest
	}
	t.Run("half", func(t *testing.T) {
		host, guest := pair()
		host.(*conn).CloseWrite()
		if _, err := guest.Read(make([]byte, 1)); err != io.EOF {
			t.Fatalf("guest reads %v", err)
		}
		guest.Write([]byte("late"))
		guest.Close()
		if got, err := io.ReadAll(host); string(got) != "late" || err != nil {
			t.Fatalf("host reads %q, %v", got, err)
		}
	})
	t.Run("whole", func(t *testing.T) {
		host, guest := pair()
		read := make(chan error, 1)
		go func() { _, err := host.Read(make([]byte, 1)); read <- err }()
		host.Close()
		if err := <-read; !errors.Is(err, net.ErrClosed) {
			t.Fatalf("a read under way: %v", err)
		}
		if _, err := host.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Fatalf("a write: %v", err)
		}
		if _, err := guest.Write(make([]byte, 4<<20)); err != nil { // dropped, but not in the way
			t.Fatalf("guest writes: %v", err)
		}
		guest.Close()
	})
	t.Run("session", func(t *testing.T) {
		host, guest := pair()
		s.Close()
		if _, err := host.Read(make([]byte, 1)); !errors.Is(err, ErrLost) {
			t.Fatalf("host reads %v", err)
		}
		connect(t, p)
		if _, err := guest.Read(make([]byte, 1)); !errors.Is(err, ErrLost) {
			t.Fatalf("guest reads %v", err)
		}
	})
}

func TestServe(t *testing.T) {
	p := newTestPort(t)
	echoGuest(t, p)
	path := filepath.Join(t.TempDir(), "sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var ports sync.Map
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan struct{})
	go func() {
		defer close(served)
		Serve(ctx, func(context.Context) (net.Conn, error) {
			c := p.host(t)
			ports.Store(c, true)
			return c, nil
		}, l)
	}()
	dial := func() net.Conn {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	for range 3 {
		if err := roundTrip(dial(), rand.Reader, 3<<20); err != nil {
			t.Fatal(err)
		}
		c := dial()
		c.Write([]byte("x"))
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		ports.Range(func(k, _ any) bool { k.(net.Conn).Close(); ports.Delete(k); return true })
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Fatal("the client did not notice that its session was lost")
		}
	}
	cancel()
	select {
	case <-served:
	case <-limit(t).Done():
		t.Fatal("Serve does not end")
	}
}

func TestHold(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	p := NewPort(c.(*net.UnixConn))
	defer p.Close()
	qemu, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer qemu.Close()
	want := make([]byte, 4<<20)
	rand.Read(want)
	wrote := make(chan error, 1)
	go func() { _, err := p.Write(want); wrote <- err }()
	got := make([]byte, 1000)
	io.ReadFull(qemu, got)
	if err := p.Hold(limit(t)); err != nil { // nobody reads: it settles with bytes under way
		t.Fatal(err)
	}
	before, _ := p.unread()
	buf := make([]byte, 64<<10)
	for n := before; n > 0; n, _ = p.unread() { // what was under way is all that comes
		k, err := qemu.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, buf[:k]...)
	}
	if len(got) == len(want) {
		t.Fatal("the port was not held")
	}
	p.Release()
	rest := make([]byte, len(want)-len(got))
	if _, err := io.ReadFull(qemu, rest); err != nil {
		t.Fatal(err)
	}
	if err := <-wrote; err != nil || !bytes.Equal(append(got, rest...), want) {
		t.Fatalf("after the release: %v", err)
	}
}

func BenchmarkToGuest(b *testing.B) { benchmark(b, true) }
func BenchmarkToHost(b *testing.B)  { benchmark(b, false) }

func benchmark(b *testing.B, toGuest bool) {
	p := newTestPort(b)
	l := Listen(p.guest())
	defer l.Close()
	from := open(b, connect(b, p))
	to, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	if !toGuest {
		from, to = to, from
	}
	buf := make([]byte, 64<<10)
	rand.Read(buf)
	b.SetBytes(int64(len(buf)))
	go io.Copy(io.Discard, struct{ io.Reader }{to})
	for b.Loop() {
		if _, err := from.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
}

// restarted is a port whose guest's end another agent opens after the one before has died.
type restarted struct {
	io.ReadWriteCloser
	dead chan struct{}
}

func (r restarted) Read(b []byte) (int, error) {
	n, err := r.ReadWriteCloser.Read(b)
	select {
	case <-r.dead:
		return 0, os.ErrClosed
	default:
		return n, err
	}
}

func (r restarted) Close() error { return nil }

// TestAgentRestarts has the guest's end die and another take its place, between two frames and in the middle of one:
// the host's connections end, and the next session works.
func TestAgentRestarts(t *testing.T) {
	for _, cut := range []int{0, 1, headerLen, 60_000} {
		t.Run(fmt.Sprint(cut), func(t *testing.T) {
			p := newTestPort(t)
			first := restarted{p.guest(), make(chan struct{})}
			l := Listen(first)
			host := open(t, connect(t, p))
			guest, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			guest.Write([]byte("x"))
			if _, err := io.ReadFull(host, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			close(first.dead)
			if _, err := host.Write([]byte("y")); err != nil { // the dying agent's last read
				t.Fatal(err)
			}
			eventually(t, func() bool { return guest.(*conn).session.IsClosed() })
			l.Close()
			// A frame of the first stream that announces 65000 bytes, as far as it came.
			frame := append([]byte{0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0xfd, 0xe8}, make([]byte, 65_000)...)
			p.toHost.w.Write(frame[:cut])
			echoGuest(t, p)
			host.SetReadDeadline(time.Now().Add(time.Minute))
			lost := make(chan error, 1)
			go func() {
				_, err := io.Copy(io.Discard, struct{ io.Reader }{host})
				lost <- err
			}()
			for done := false; !done; {
				select {
				case err := <-lost:
					if done = true; !errors.Is(err, ErrLost) {
						t.Fatalf("the connection ends with %v", err)
					}
				case <-time.After(10 * time.Millisecond):
					host.Write([]byte("nudge"))
				}
			}
			if err := roundTrip(open(t, connect(t, p)), rand.Reader, 100_000); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func eventually(t *testing.T, is func() bool) {
	t.Helper()
	for !is() {
		select {
		case <-limit(t).Done():
			t.Fatal("it never comes")
		case <-time.After(time.Millisecond):
		}
	}
}
