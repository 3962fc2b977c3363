package serve

import (
	"context"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"noid/internal/api"
	"noid/internal/vm"
)

// TestVMs goes through the life of a VM, and what is refused of it.
func TestVMs(t *testing.T) {
	w := newWorld(t, "")
	var made api.VM
	a := w.request("POST", "/v1/vms", map[string]any{"name": "a"})
	a.Body.Close()
	if a.StatusCode != http.StatusCreated || a.Header.Get("Location") != "/v1/vms/a" {
		t.Fatalf("created: %s, %s", a.Status, a.Header)
	}
	w.do(200, "GET", "/v1/vms/a", nil, &made)
	if made.Name != "a" || made.State != "running" {
		t.Errorf("made: %+v", made)
	}
	w.refused(409, "exists", "POST", "/v1/vms", map[string]any{"name": "a"})
	w.refused(404, "not_found", "GET", "/v1/vms/missing", nil)
	w.do(200, "POST", "/v1/vms/a/pause", nil, nil)
	if p := w.refused(409, "state", "POST", "/v1/vms/a/exec", map[string]any{"argv": []string{"true"}}); p.Hint != "let it run with POST /v1/vms/a/resume" {
		t.Errorf("hint: %q", p.Hint)
	}
	w.do(200, "POST", "/v1/vms/a/resume", nil, nil)
	w.do(200, "POST", "/v1/vms/a/rename", map[string]any{"name": "b"}, nil)
	w.do(200, "PUT", "/v1/vms/b/auto", map[string]any{"when": "5m"}, nil)
	w.refused(400, "usage", "PUT", "/v1/vms/b/auto", map[string]any{"when": "soon"})
	w.do(200, "POST", "/v1/vms/b/stop", map[string]any{"force": true}, nil)
	w.do(200, "POST", "/v1/vms/b/start", nil, nil)
	var list VMList
	w.do(200, "GET", "/v1/vms", nil, &list)
	if len(list.VMs) != 1 || list.VMs[0].Name != "b" {
		t.Errorf("list: %+v", list)
	}
	w.do(200, "DELETE", "/v1/vms/b", nil, nil)
	w.refused(404, "not_found", "DELETE", "/v1/vms/b", nil)
}

// TestExec runs commands: how they end, and what they write.
func TestExec(t *testing.T) {
	w := newWorld(t, "")
	w.do(201, "POST", "/v1/vms", map[string]any{"name": "a"}, nil)
	exec := func(in map[string]any) (out ExecResult) {
		t.Helper()
		w.do(200, "POST", "/v1/vms/a/exec", in, &out)
		return out
	}
	if o := exec(map[string]any{"command": "echo out; echo err >&2; exit 3"}); o != (ExecResult{ExitCode: 3, Stdout: "out\n", Stderr: "err\n", StdoutEncoding: "utf-8", StderrEncoding: "utf-8"}) {
		t.Errorf("a command: %+v", o)
	}
	if o := exec(map[string]any{"argv": []string{"sh", "-c", "kill -9 $$"}}); o.ExitCode != 137 || o.Signal != "SIGKILL" {
		t.Errorf("killed: %+v", o)
	}
	if o := exec(map[string]any{"argv": []string{"no-such-command"}}); o.ExitCode != 127 || o.Error == "" {
		t.Errorf("not there: %+v", o)
	}
	if o := exec(map[string]any{"command": "sleep 100", "timeout_s": 0.2}); !o.TimedOut {
		t.Errorf("timed out: %+v", o)
	}
	if o := exec(map[string]any{"argv": []string{"cat"}, "input_base64": "/wA="}); o.Stdout != "/wA=" || o.StdoutEncoding != "base64" {
		t.Errorf("bytes: %+v", o)
	}
	if o := exec(map[string]any{"command": "echo $A; pwd", "env": map[string]string{"A": "x"}, "dir": "/tmp"}); o.Stdout != "x\n/tmp\n" {
		t.Errorf("environment and directory: %+v", o)
	}
	o := exec(map[string]any{"command": "printf é%.0s $(seq 1000)", "max_output": 101})
	if o.StdoutCut == nil || o.Stdout != strings.Repeat("é", 50) || *o.StdoutCut != (Cut{50, 1900}) {
		t.Errorf("cut: %q, %+v", o.Stdout, o.StdoutCut)
	}
	o = exec(map[string]any{"command": "head -c 3000000 /dev/zero; printf '\\377'", "max_output": 1000})
	if all, _ := base64.StdEncoding.DecodeString(o.Stdout); len(all) != 1000 || all[999] != 0xff || *o.StdoutCut != (Cut{500, 2999001}) {
		t.Errorf("cut bytes: %d, %+v", len(all), o.StdoutCut)
	}
	for _, bad := range []map[string]any{{}, {"timeout_s": 1}, {"argv": []string{}, "command": 3}, {"argv": "true"}, {"commands": "true"}, {"command": "true", "timeout_s": -1}, {"command": "true", "timeout_s": 31536001}, {"command": "true", "timeout_s": "1"}, {"COMMAND": "true"},
		{"command": "true", "argv": []string{"true"}}, {"command": "true", "env": map[string]any{"": "x"}}, {"command": "true", "input": "x", "input_base64": "eA=="}, {"command": nil}} {
		w.refused(400, "usage", "POST", "/v1/vms/a/exec", bad)
	}
	w.refused(400, "usage", "POST", "/v1/vms/a/exec", `{"command":`)
	w.refused(400, "usage", "POST", "/v1/vms/a/exec?x=1", map[string]any{"command": "true"})
	w.refused(415, "usage", "POST", "/v1/vms/a/exec", `{"command":"true"}`, "Content-Type: text/plain")
	w.refused(413, "usage", "POST", "/v1/vms/a/exec", `{"command":"`+strings.Repeat("x", maxBody)+`"}`)
	w.refused(404, "not_found", "GET", "/v1/nothing", nil)
	w.refused(404, "not_found", "GET", "/v1/vms/../vms", nil)
	w.refused(405, "usage", "PUT", "/v1/vms/a/exec", nil)
}

// TestStuck ends a server one of whose requests does not end.
func TestStuck(t *testing.T) {
	begun, goOn := make(chan struct{}), make(chan struct{})
	w := newWorldWith(t, "", func(o *Options) {
		o.grace, o.last = time.Millisecond, time.Millisecond
		open := o.Open
		o.Open = func(ctx context.Context, verb string) (*vm.Manager, error) {
			if verb == "list" {
				close(begun)
				<-goOn
			}
			return open(ctx, verb)
		}
	})
	defer close(goOn)
	go func() {
		if a, err := w.client.Get(w.base + "/v1/vms"); err == nil {
			a.Body.Close()
		}
	}()
	<-begun
	ended := make(chan error, 1)
	go func() { ended <- w.stop() }()
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "did not end within 1ms") {
			t.Errorf("a request that does not end: %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the server does not end")
	}
}
