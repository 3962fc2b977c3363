package e2e

import (
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"noid/internal/network/ca"
	"noid/internal/network/nettest"
)

const (
	insideEnv = "NOID_TEST_INTERNET" // the path of the certificate that this host trusts
	fileAt    = "8.8.0.11"
	echoAt    = "8.8.0.12:7"
	secureAt  = "8.8.0.13"
	plainAt   = "8.8.0.14"
	value     = "ghp_16C7e42F292c6912E7710c838347Ae178B4a"
	fileSize  = 100 << 20
)

// TestInternet runs TestInsideInternet where the internet is this test.
func TestInternet(t *testing.T) { inInternet(t, "TestInsideInternet", newBundle(t)) }

// newBundle is an authority for inInternet.
func newBundle(t *testing.T) string {
	authority, err := ca.New(time.Now())
	check(t, err)
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	check(t, os.WriteFile(bundle, authority.CertPEM, 0o600))
	check(t, os.WriteFile(bundle+".key", authority.KeyPEM, 0o600))
	return bundle
}

// inInternet runs another test of this package in namespaces of its own, where it is the internet: no packet leaves
// them. bundle is the certificate of the authority that this host trusts, bundle.key its key. 'go test -run A/b' runs the
// part b of the other test.
func inInternet(t *testing.T, test, bundle string) {
	setup(t)
	_, part, _ := strings.Cut(flag.Lookup("test.run").Value.String(), "/")
	cmd := exec.Command("/proc/self/exe", "-test.v", "-test.run=^"+test+"$/"+part)
	cmd.Env = append(os.Environ(), insideEnv+"="+bundle, "SSL_CERT_FILE="+bundle, "NOID_SECRET_KEY="+filepath.Join(t.TempDir(), "key"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if t.Logf("%s", out); err != nil {
		t.Error(err)
	}
}

// TestInsideInternet: a guest resolves names, fetches a large file, and talks UDP; policy and ports change while it
// does; a secret is used that it does not have; and its helper is killed under load.
func TestInsideInternet(t *testing.T) {
	sum := serveInternet(t)
	n := setup(t)
	program := fetchProgram(t)
	n.setToken()
	n.want(0, "create", "a", "--secret", "TOKEN", "--wait")
	n.want(0, "cp", program, "a:/root/fetch")
	fetch := n.fetch
	const small = "200 5 small"
	n.equal("a large file", fmt.Sprintf("200 %d %s", fileSize, sum), fetch("a", "get", "http://file.test/big"))
	n.equal("UDP", "hello", fetch("a", "udp", echoAt, "hello"))
	for _, inside := range []string{"http://inside.test/", "http://mapped.test/"} {
		if got := fetch("a", "get", inside); !strings.Contains(got, "refused") {
			t.Errorf("%s: %s", inside, got)
		}
	}

	n.deniedRanges("a")

	// What the guest has is the placeholder; what the server gets is the value.
	got := n.want(0, "exec", "a", "--", "sh", "-c", `/root/fetch get https://secure.test/x Authorization "Bearer $TOKEN"`)
	placeholder := strings.TrimSpace(n.want(0, "exec", "a", "--", "sh", "-c", `echo $TOKEN`))
	n.equal("the secret", fmt.Sprintf("200 %d true Bearer %s", len("true Bearer ")+len(value), placeholder), strings.TrimSpace(got))
	if placeholder == value || len(placeholder) != len(value) {
		t.Errorf("the placeholder is %q", placeholder)
	}
	if got := fetch("a", "get", "http://file.test/auth", "Authorization", placeholder); got != fmt.Sprintf("200 %d %s", len(value), placeholder) {
		t.Errorf("another host gets %s", got)
	}
	n.want(0, "checkpoint", "a")
	n.want(0, "verify", "--scan-secrets", "a")

	gitClone(t, n)

	n.want(0, "net", "allow", "a", "file.test:80")
	if got := fetch("a", "udp", echoAt, "hello"); !strings.HasPrefix(got, "failed") {
		t.Errorf("UDP that no rule allows: %s", got)
	}
	n.equal("what a rule allows", small, fetch("a", "get", "http://file.test/small"))
	n.want(0, "net", "rm", "a", "file.test:80")
	n.equal("UDP again", "hello", fetch("a", "udp", echoAt, "hello"))

	n.want(0, "fork", "a", "--as", "c1")
	n.equal("a clone", small, fetch("c1", "get", "http://file.test/small"))
	if got := n.want(0, "exec", "c1", "--", "sh", "-c", `/root/fetch get https://secure.test/x Authorization "Bearer `+placeholder+`" 2>&1 || true`); strings.Contains(got, "true") {
		t.Errorf("a clone without the grant: %s", got)
	}
	n.want(0, "destroy", "c1")

	large := make(chan string)
	go func() { large <- fetch("a", "get", "http://file.test/slow") }()
	n.until("it loads", func() bool { return slow.Load() > 0 })
	check(t, syscall.Kill(n.networkHelper("a"), syscall.SIGKILL))
	if got := <-large; !strings.HasPrefix(got, "failed") {
		t.Errorf("a connection that was cut: %s", got)
	}
	n.equal("with another helper", small, fetch("a", "get", "http://file.test/small"))
}

// fetchProgram is fetch, built for guests: now, or before a test where to build takes minutes, as NOID_TEST_FETCH.
func fetchProgram(t *testing.T) string {
	t.Helper()
	if program := os.Getenv("NOID_TEST_FETCH"); program != "" {
		return program
	}
	program := filepath.Join(t.TempDir(), "fetch")
	build := exec.Command("go", "build", "-trimpath", "-o", program, "./fetch")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return program
}

// fetch runs /root/fetch in a VM, and returns what it prints.
func (n noid) fetch(vm string, args ...string) string {
	out, errs, code := n.runWithin(20*time.Minute, append([]string{"exec", vm, "--", "/root/fetch"}, args...)...) // 100 MB, emulated
	if code != 0 {
		return "failed: " + errs
	}
	return strings.TrimSpace(out)
}

// setToken has value be the secret TOKEN, for secure.test.
func (n noid) setToken() {
	n.t.Helper()
	set := n.cmd(n.t.Context(), "secret", "set", "TOKEN", "--host", "secure.test", "--store", "file")
	set.Stdin = strings.NewReader(value)
	if out, err := set.CombinedOutput(); err != nil {
		n.t.Fatalf("%v: %s", err, out)
	}
}

// slow counts what /slow has written.
var slow atomic.Int64

// becomeInternet makes this process the internet, and its resolver. In the test that inInternet runs only.
func becomeInternet(t *testing.T) {
	if os.Getenv(insideEnv) == "" {
		t.Skip("another test runs it")
	}
	check(t, errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		nettest.IP("link set lo up", "addr add 198.51.100.1/32 dev lo", "route add local 8.8.0.0/16 dev lo")))
	resolv := filepath.Join(t.TempDir(), "resolv.conf")
	check(t, os.WriteFile(resolv, []byte("nameserver 127.0.0.1\n"), 0o644))
	check(t, unix.Mount(resolv, "/etc/resolv.conf", "", unix.MS_BIND, ""))
	t.Cleanup(func() { unix.Unmount("/etc/resolv.conf", unix.MNT_DETACH) })
	resolve(t, map[string]string{"file.test.": fileAt, "secure.test.": secureAt, "plain.test.": plainAt, "inside.test.": "192.168.1.1"}, map[string]string{"mapped.test.": "64:ff9b::c0a8:101"})
}

// serveTLS serves HTTPS with a certificate of the authority that this host trusts.
func serveTLS(t *testing.T, name, at string, h http.Handler) {
	t.Helper()
	bundle := os.Getenv(insideEnv)
	cert, err := os.ReadFile(bundle)
	check(t, err)
	key, err := os.ReadFile(bundle + ".key")
	check(t, err)
	authority, err := ca.Parse(cert, key)
	check(t, err)
	leaf, err := authority.Leaf(name)
	check(t, err)
	l, err := tls.Listen("tcp", at+":443", &tls.Config{Certificates: []tls.Certificate{*leaf}, NextProtos: []string{"h2", "http/1.1"}})
	check(t, err)
	serve(t, l, h)
}

// withToken asks who is there, and lets those in who have the token: alone, as Bearer, or as a password.
func withToken(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		if got := r.Header.Get("Authorization"); password != value && got != value && got != "Bearer "+value {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// serveInternet becomes the internet of TestInternet. It returns the sum of /big.
func serveInternet(t *testing.T) string {
	becomeInternet(t)
	echo(t)

	big := make([]byte, fileSize)
	rand.NewChaCha8([32]byte{}).Read(big)
	files := http.NewServeMux()
	files.HandleFunc("/big", func(w http.ResponseWriter, _ *http.Request) { w.Write(big) })
	files.HandleFunc("/small", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "small") })
	files.HandleFunc("/auth", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Header.Get("Authorization")) })
	files.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			n, _ := w.Write(big[:64<<10])
			slow.Add(int64(n))
		}
	})
	l, err := net.Listen("tcp", fileAt+":80")
	check(t, err)
	serve(t, l, files)

	secure := http.NewServeMux()
	secure.HandleFunc("/x", func(w http.ResponseWriter, r *http.Request) {
		auth := r.Header.Get("Authorization")
		fmt.Fprint(w, auth == "Bearer "+value, " ", auth)
	})
	secure.Handle("/repo.git/", withToken(repository(t)))
	serveTLS(t, "secure.test", secureAt, secure)
	return fmt.Sprintf("%x", sha256.Sum256(big))
}

// repository is a git repository, at /repo.git/.
func repository(t *testing.T) http.Handler {
	root := t.TempDir()
	out, err := exec.Command("sh", "-ec", `cd "$0"; git init -q --bare -b main repo.git; git init -q -b main w; cd w; seq 100000 >file; git add file
		git -c user.name=a -c user.email=a@b commit -qm one; git push -q ../repo.git main; git --exec-path`, root).Output()
	check(t, err)
	return &cgi.Handler{Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"),
		Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=x"}}
}

// gitClone has the git of an image clone over HTTPS, with a token that the guest does not have.
func gitClone(t *testing.T, n noid) {
	image := os.Getenv("NOID_TEST_GIT")
	if image == "" {
		t.Log("NOT RUN: 'make torture' makes the image with git")
		return
	}
	n.want(0, "image", "import", "tar:"+image, "git:1")
	out := n.want(0, "run", "--name", "g", "--secret", "TOKEN", "git:1", "sh", "-ec", `git clone -q "https://x:$TOKEN@secure.test/repo.git" /root/r; sha256sum </root/r/file`)
	sum := sha256.New()
	for i := range 100000 {
		fmt.Fprintln(sum, i+1)
	}
	n.equal("a git clone", fmt.Sprintf("%x  -\n", sum.Sum(nil)), out)
	n.want(0, "start", "g")
	n.want(0, "exec", "g", "--", "sh", "-c", "! grep -r "+value[:20]+" /root /etc /tmp")
	n.want(0, "checkpoint", "g")
	n.want(0, "verify", "--scan-secrets", "g")
	check(t, filepath.WalkDir(filepath.Join(n.home, "storage"), func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !strings.HasSuffix(path, ".log") {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), value) {
			t.Errorf("%s has the value", path)
		}
		return err
	}))
}

func serve(t *testing.T, l net.Listener, h http.Handler) {
	s := &http.Server{Handler: h}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
}

// resolve answers DNS queries with these addresses, of IPv4 and IPv6.
func resolve(t *testing.T, four, six map[string]string) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:53")
	check(t, err)
	s := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		name, of := q.Question[0].Name, ""
		switch q.Question[0].Qtype {
		case dns.TypeA:
			of = four[name]
		case dns.TypeAAAA:
			of = six[name]
		}
		if rr, err := dns.NewRR(fmt.Sprintf("%s 60 IN %s %s", name, dns.TypeToString[q.Question[0].Qtype], of)); err == nil && of != "" {
			m.Answer = []dns.RR{rr}
		}
		w.WriteMsg(m)
	})}
	go s.ActivateAndServe()
	t.Cleanup(func() { s.Shutdown() })
}

// echo sends back each datagram.
func echo(t *testing.T) {
	c, err := net.ListenPacket("udp", echoAt)
	check(t, err)
	t.Cleanup(func() { c.Close() })
	go func() {
		for buf := make([]byte, 2048); ; {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			c.WriteTo(buf[:n], from)
		}
	}()
}
