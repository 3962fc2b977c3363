package e2e

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// pieces are those of /pieces, each of which waits for a word on nextPiece.
const pieces = 4

var (
	nextPiece = make(chan struct{})
	release   = make(chan struct{}) // what /held waits for
	held      atomic.Int64          // how many it lets wait
)

// TestFlows runs TestInsideFlows where the internet is this test.
func TestFlows(t *testing.T) { inInternet(t, "TestInsideFlows", newBundle(t)) }

// TestInsideFlows: connections of a guest go on over checkpoints and pauses, and are known to be gone in what is
// restored, also by ten clones at once.
func TestInsideFlows(t *testing.T) {
	becomeInternet(t)
	piece := bytes.Repeat([]byte("0123456789abcdef"), fileSize/pieces/16)
	m := http.NewServeMux()
	m.HandleFunc("/small", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "small") })
	m.HandleFunc("/pieces", func(w http.ResponseWriter, _ *http.Request) {
		for range pieces {
			<-nextPiece
			w.Write(piece)
		}
	})
	m.HandleFunc("/held", func(w http.ResponseWriter, r *http.Request) {
		held.Add(1)
		defer held.Add(-1)
		select {
		case <-release:
			io.WriteString(w, "small")
		case <-r.Context().Done():
		}
	})
	l, err := net.Listen("tcp", fileAt+":80")
	check(t, err)
	serve(t, l, m)
	n := setup(t)
	program := fetchProgram(t)
	n.want(0, "create", "a", "--wait")
	n.want(0, "cp", program, "a:/root/fetch")
	bulk(n, fmt.Sprintf("200 %d %x", fileSize, sha256.Sum256(bytes.Repeat(piece, pieces))))
	idle(n, "a", map[string]string{"go": "/root/fetch twice http://file.test/small $0"})
	clones(n)
}

// bulk has a download go on over checkpoints and a pause of its VM. want is what fetch
// says of it.
func bulk(n noid, want string) {
	n.t.Helper()
	got := make(chan string)
	go func() { got <- n.fetch("a", "get", "http://file.test/pieces") }()
	nextPiece <- struct{}{}
	for _, steps := range [][]string{{"checkpoint"}, {"pause", "resume"}, {"checkpoint"}} {
		nextPiece <- struct{}{} // under way while they are done
		for _, step := range steps {
			n.want(0, step, "a")
		}
	}
	n.equal("a download over checkpoints and a pause", want, <-got)
}

// idle has programs of a VM keep an idle connection each, over a restore to a new VM and one in place: what they ask next
// is answered. Each program makes a request, says "first", waits for the file $0, makes another one and says "second".
func idle(n noid, vm string, programs map[string]string) {
	n.t.Helper()
	// The guest itself waits: a command for each look would leave the programs of an emulated one little time.
	said := func(vm, name, word string) {
		n.t.Helper()
		out, errs, code := n.runWithin(bootLimit, "exec", vm, "--", "sh", "-c", `until grep -q -e "$0" -e failed /tmp/idle.$1; do sleep 1; done; cat /tmp/idle.$1`, word, name)
		if code != 0 || !strings.Contains(out, word) {
			n.t.Fatalf("%s says no %s: exit code %d\n%s\n%s", name, word, code, out, errs)
		}
	}
	const goOn = "/tmp/go-on."
	for name, script := range programs { // one by one: an emulated guest has time limits of its own to keep
		n.want(0, "exec", vm, "--", "sh", "-c", fmt.Sprintf("(%s || echo failed) >/tmp/idle.%s 2>&1 &", script, name), goOn+name)
		said(vm, name, "first")
	}
	const kept = "grep -c ':0050 01 ' /proc/net/tcp || :" // established, to port 80
	n.equal("idle connections", fmt.Sprintln(len(programs)), n.want(0, "exec", vm, "--", "sh", "-c", kept))
	n.want(0, "checkpoint", vm, "--label", "idle")
	n.want(0, "restore", vm, "idle", "--as", "idle")
	n.want(0, "restore", "--no-backup", vm, "idle")
	for _, vm := range []string{"idle", vm} {
		n.until("the guest knows that they are gone, though its programs only wait", func() bool {
			return n.want(0, "exec", vm, "--", "sh", "-c", kept) == "0\n"
		})
		for name := range programs {
			n.want(0, "exec", vm, "touch", goOn+name)
			said(vm, name, "second")
		}
		n.t.Logf("%s, connections kept over a restore (ms): %s", vm, n.want(0, "exec", vm, "--", "sh", "-c", "grep second /tmp/idle.*"))
	}
	n.want(0, "destroy", "idle")
}

// clones makes ten of a, in which a request waits for its answer: each asks anew.
func clones(n noid) {
	n.t.Helper()
	n.want(0, "exec", "a", "--", "sh", "-c", "/root/fetch until http://file.test/held >/root/held 2>&1 &")
	n.until("a asks", func() bool { return held.Load() == 1 })
	n.want(0, "checkpoint", "a", "--label", "one")
	began := time.Now()
	n.want(0, "fork", "a@one", "-n", "10", "--prefix", "c")
	forked := time.Since(began)
	n.until("all ask", func() bool { return held.Load() == 11 })
	n.t.Logf("ten clones in %v, and %v later all had asked", forked, time.Since(began)-forked)
	close(release)
	for i := range 10 {
		name := fmt.Sprintf("c%d", i+1)
		n.until(name+" is answered", func() bool { return strings.Contains(n.want(0, "exec", name, "cat", "/root/held"), "200 5 small") })
	}
}
