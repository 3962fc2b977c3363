package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"noid/internal/agent"
	"noid/internal/link/files"
	"noid/internal/link/tarfs"
	"noid/internal/vm"
	"noid/internal/vm/vmtest"
	"noid/internal/vmm/conformance/tinyguest"
	"noid/test/signals"
)

// agentWord has this test program stand for a VMM and the agent in its guest, whose commands run on this machine.
const agentWord = "agent"

func TestMain(m *testing.M) {
	signals.Heed()
	if len(os.Args) < 2 || strings.HasPrefix(os.Args[1], "-") {
		os.Exit(m.Run())
	}
	if os.Args[1] == connectWord {
		os.Exit(connect(os.Args[2]))
	}
	if os.Args[1] == activatedWord {
		os.Exit(activated(os.Args[2]))
	}
	if os.Args[1] != agentWord {
		os.Exit(tool(os.Args[1:]))
	}
	time.AfterFunc(10*time.Minute, func() { os.Exit(1) }) // a test that was killed does not end it
	go io.Copy(os.Stdout, os.Stdin)                       // its console says what is typed
	os.Remove(vmtest.JobsSocket)
	l, err := net.Listen("unix", vmtest.JobsSocket)
	if err == nil {
		err = (&agent.Server{}).Serve(l)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// connectWord has it ask a server for its version, as another user.
const connectWord = "connect"

func connect(path string) int {
	conn, err := net.Dial("unix", path)
	if err == nil {
		io.WriteString(conn, "GET /v1/version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		_, err = io.Copy(os.Stdout, conn)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// tool is a tool of the agent.
func tool(args []string) int {
	if args[0] == files.Tool {
		return files.Main(args[1:], os.Stdout, os.Stderr)
	}
	return tarfs.Main(args, os.Stdin, os.Stdout, os.Stderr)
}

// world is a server, and a client of it.
type world struct {
	*testing.T
	home   string
	fake   *vmtest.Driver
	client *http.Client
	base   string // of URLs
	token  string
	srv    *server // for what it says of itself
	logs   chan string
	stop   func() error // ends the server, and returns what it returned
}

// newWorld serves a home whose VMs the fake driver runs on a unix socket, or with a token on loopback.
func newWorld(t *testing.T, token string) *world { return newWorldWith(t, token, func(*Options) {}) }

// newWorldWith is newWorld with other options.
func newWorldWith(t *testing.T, token string, change func(*Options)) *world {
	self, err := os.Executable()
	check(t, err)
	dir := t.TempDir()
	w := &world{T: t, home: filepath.Join(dir, "home"), fake: &vmtest.Driver{MemoryFile: true, Program: []string{self, agentWord}}, token: token, base: "http://localhost",
		logs: make(chan string, 100)}
	kernel, rootfs := filepath.Join(dir, "vmlinux"), filepath.Join(dir, "rootfs.ext4")
	check(t, os.WriteFile(kernel, tinyguest.Kernel(), 0o600))
	check(t, os.WriteFile(rootfs, nil, 0o600))
	check(t, os.Truncate(rootfs, 1<<20))
	if out, err := exec.Command("/sbin/mke2fs", "-q", "-F", rootfs).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	check(t, os.Mkdir(w.home, 0o700))
	check(t, os.WriteFile(filepath.Join(w.home, "config.toml"), fmt.Appendf(nil, "kernel = %q\nrootfs = %q\nwarm = \"off\"\nnet = \"none\"\n", kernel, rootfs), 0o600))
	m, err := w.open(t.Context(), "serve")
	check(t, err)
	check(t, m.Home.Make())
	m.Close()
	var l net.Listener
	if token == "" {
		socket := filepath.Join(w.home, SocketFile)
		l, err = ListenUnix(socket)
		w.client = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}}}
	} else {
		l, err = ListenTCP("127.0.0.1:0")
		if err == nil {
			w.base = "http://" + l.Addr().String()
		}
		w.client = &http.Client{Transport: &http.Transport{}}
	}
	check(t, err)
	o := Options{Open: w.open, Version: "test", Token: token, Log: func(text string) { w.logs <- text }}
	change(&o)
	w.srv = newServer(o)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, o, l) }()
	stopped := false
	w.stop = func() error {
		cancel()
		stopped = true
		return <-ended
	}
	t.Cleanup(func() {
		if !stopped {
			w.client.CloseIdleConnections()
			check(t, w.stop())
		}
		m, err := w.open(context.Background(), "destroy")
		check(t, err)
		defer m.Close()
		names, _ := m.Home.VMNames()
		for _, name := range names {
			ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
			jobs, _ := m.Jobs(ctx, name) // they are processes of this machine, which do not end with the fake guest
			for _, j := range jobs {
				m.Signal(ctx, name, j.ID, int(syscall.SIGKILL))
			}
			stop()
			m.Destroy(context.Background(), name, true)
		}
	})
	return w
}

func (w *world) open(ctx context.Context, verb string) (*vm.Manager, error) {
	m, err := vm.Open(ctx, w.home, verb, false)
	if err == nil {
		m.Drivers, m.Version = vmtest.Drivers{Fake: w.fake}, "test"
	}
	return m, err
}

// request sends a request, with headers as KEY: VALUE. A body that is no io.Reader is sent as JSON.
func (w *world) request(method, path string, body any, headers ...string) *http.Response {
	w.Helper()
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case io.Reader:
		in = b
	case string:
		in = strings.NewReader(b)
	default:
		data, err := json.Marshal(body)
		check(w.T, err)
		in = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(w.Context(), method, w.base+path, in)
	check(w.T, err)
	if in != nil {
		r.Header.Set("Content-Type", jsonType)
	}
	if w.token != "" {
		r.Header.Set("Authorization", "Bearer "+w.token)
	}
	for _, h := range headers {
		key, value, _ := strings.Cut(h, ": ")
		if key == "Host" {
			r.Host = value
		} else {
			r.Header.Set(key, value)
		}
	}
	a, err := w.client.Do(r)
	check(w.T, err)
	return a
}

// do sends a request, wants its answer's status, and reads that into out if it is not nil. It returns the document. What
// is no answer of the OpenAPI document fails.
func (w *world) do(status int, method, path string, body, out any, headers ...string) string {
	w.Helper()
	a := w.request(method, path, body, headers...)
	defer a.Body.Close()
	data, err := io.ReadAll(a.Body)
	check(w.T, err)
	if a.StatusCode != status {
		w.Fatalf("%s %s: %d, not %d: %s", method, path, a.StatusCode, status, data)
	}
	w.conforms(a, data)
	if out != nil {
		if err := json.Unmarshal(data, out); err != nil {
			w.Fatalf("%s %s: %v: %s", method, path, err, data)
		}
	}
	return string(data)
}

// conforms fails for an answer that the OpenAPI document does not have.
func (w *world) conforms(a *http.Response, data []byte) {
	w.Helper()
	_, pattern := w.srv.mux.Handler(a.Request)
	i := slices.IndexFunc(w.srv.ops, func(o *op) bool { return o.method+" /v1"+o.path == pattern })
	if i < 0 {
		return
	}
	o := w.srv.ops[i]
	r, known := o.document(&schemas{named: map[string]reflect.Type{}}).Responses[strconv.Itoa(a.StatusCode)]
	kind := a.Header.Get("Content-Type")
	if _, has := r.Content[kind]; !known || !has && len(r.Content) > 0 || r.Ref != "" && kind != problemType {
		w.Errorf("%s: the document has no answer %d of the type %s", o.id, a.StatusCode, kind)
		return
	}
	of := o.out
	if r.Ref != "" {
		of = reflect.TypeFor[Problem]()
	} else if kind != jsonType {
		return
	}
	var doc any
	check(w.T, json.Unmarshal(data, &doc))
	if err := must((&schemas{}).structure(of).Resolve(nil)).Validate(doc); err != nil {
		w.Errorf("%s: the document has another answer than %s: %v", o.id, data, err)
	}
}

// refused is do of a request that is refused, and wants the kind of problem.
func (w *world) refused(status int, kind, method, path string, body any, headers ...string) Problem {
	w.Helper()
	var p Problem
	w.do(status, method, path, body, &p, headers...)
	if p.Kind != kind || p.Status != status || p.Detail == "" || p.Title == "" || !strings.HasPrefix(p.Type, "urn:noid:error:") {
		w.Errorf("%s %s: %+v, not of the kind %s", method, path, p, kind)
	}
	return p
}

// until waits for something that another process does.
func (w *world) until(what string, is func() bool) {
	w.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("not within a minute: %s", what)
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
