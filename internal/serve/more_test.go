package serve

import (
	"encoding/json"
	"strings"
	"testing"

	"noid/internal/api"
)

// TestRunTry runs a command in a VM that is made for it, and one that is taken back when it fails.
func TestRunTry(t *testing.T) {
	w := newWorld(t, "")
	var o ExecResult
	if w.do(200, "POST", "/v1/run", map[string]any{"command": "echo out; exit 3"}, &o); o.ExitCode != 3 || o.Stdout != "out\n" {
		t.Errorf("run: %+v", o)
	}
	var list VMList
	if w.do(200, "GET", "/v1/vms", nil, &list); len(list.VMs) != 0 {
		t.Errorf("after run: %+v", list)
	}
	w.do(201, "POST", "/v1/vms", map[string]any{"name": "a"}, nil)
	var made api.Checkpoint
	w.do(201, "POST", "/v1/vms/a/checkpoints", nil, &made)
	if w.do(200, "POST", "/v1/run", map[string]any{"checkpoint": "a@" + made.ID, "argv": []string{"true"}}, &o); o.ExitCode != 0 {
		t.Errorf("run of a checkpoint: %+v", o)
	}
	for _, bad := range []map[string]any{{"command": "true", "checkpoint": "a"}, {"command": "true", "checkpoint": "a@" + made.ID, "image": "x"}, {"command": "true", "net": "open"}} {
		w.refused(400, "usage", "POST", "/v1/run", bad)
	}
	w.refused(400, "usage", "POST", "/v1/vms/a/try", map[string]any{})
	w.refused(400, "usage", "POST", "/v1/vms/a/exec", map[string]any{"at": "now"})
	if p := w.refused(422, "failed", "POST", "/v1/vms/a/exec", map[string]any{"command": "true", "user": "nobody of that name"}); !strings.Contains(p.Detail, `no user "nobody of that name"`) {
		w.Error(p)
	}
	w.refused(502, "failed", "POST", "/v1/images", map[string]any{"ref": "127.0.0.1:1/none"})
	w.refused(502, "failed", "POST", "/v1/run", map[string]any{"command": "true", "image": "127.0.0.1:1/none"})
	w.refused(404, "not_found", "POST", "/v1/run", map[string]any{"command": "true", "checkpoint": "a@00000000"})
	o = ExecResult{}
	if w.do(200, "POST", "/v1/vms/a/try", map[string]any{"command": "echo no; false"}, &o); o.ExitCode != 1 || !o.WentBack || o.Stdout != "no\n" {
		t.Errorf("one that fails: %+v", o)
	}
	o = ExecResult{}
	if w.do(200, "POST", "/v1/vms/a/try", map[string]any{"command": "true"}, &o); o.ExitCode != 0 || o.WentBack {
		t.Errorf("one that does not: %+v", o)
	}
	o = ExecResult{}
	if w.do(200, "POST", "/v1/vms/a/try", map[string]any{"command": "true", "always": true}, &o); o.ExitCode != 0 || !o.WentBack {
		t.Errorf("one that is to be taken back: %+v", o)
	}
}

// TestTime makes checkpoints, goes back to them and forth, and makes VMs of them.
func TestTime(t *testing.T) {
	w := newWorld(t, "")
	w.do(201, "POST", "/v1/vms", map[string]any{"name": "a"}, nil)
	w.refused(409, "state", "POST", "/v1/vms/a/undo", nil)
	var first api.Checkpoint
	w.do(201, "POST", "/v1/vms/a/checkpoints", map[string]any{"label": "first"}, &first)
	w.do(201, "POST", "/v1/vms/a/checkpoints", nil, nil)
	var list CheckpointList
	if w.do(200, "GET", "/v1/vms/a/checkpoints?size=true", nil, &list); len(list.Checkpoints) != 2 || list.Checkpoints[0].ID != first.ID || list.Checkpoints[0].OwnBytes == nil {
		t.Errorf("checkpoints: %+v", list)
	}
	var u api.Undone
	if w.do(200, "POST", "/v1/vms/a/undo", map[string]any{"n": 1}, &u); u.To != first.ID || u.Kept == "" {
		t.Errorf("undone: %+v", u)
	}
	w.do(200, "POST", "/v1/vms/a/redo", nil, nil)
	w.refused(409, "state", "POST", "/v1/vms/a/redo", nil)
	var h api.History
	if w.do(200, "GET", "/v1/vms/a/history?max=1", nil, &h); len(h.Entries) != 1 {
		t.Errorf("history: %+v", h)
	}
	w.do(200, "PUT", "/v1/vms/a/checkpoints/first/pin", nil, nil)
	var p Pruned
	if w.do(200, "POST", "/v1/vms/a/prune", map[string]any{"keep_last": 1, "dry_run": true}, &p); len(p.Checkpoints) < 2 {
		t.Errorf("pruned: %+v", p)
	}
	w.refused(400, "usage", "POST", "/v1/vms/a/prune", nil)
	w.do(200, "DELETE", "/v1/vms/a/checkpoints/first/pin", nil, nil)
	var r Restored
	if w.do(200, "POST", "/v1/vms/a/checkpoints/first/restore", map[string]any{"as": "b"}, &r); r.VM != "b" || r.Kept != "" {
		t.Errorf("restored: %+v", r)
	}
	w.refused(409, "exists", "POST", "/v1/vms/a/checkpoints/first/restore", map[string]any{"as": "b"})
	w.refused(404, "not_found", "POST", "/v1/vms/a/checkpoints/none/restore", nil)
	w.refused(400, "usage", "POST", "/v1/vms/a/checkpoints/first/restore", map[string]any{"secrets": []string{"X"}})
	if w.do(200, "POST", "/v1/vms/a/checkpoints/first/restore", nil, &r); r.VM != "a" || r.Kept == "" {
		t.Errorf("put back: %+v", r)
	}
	var f Forked
	if w.do(200, "POST", "/v1/vms/a/fork", map[string]any{"n": 2}, &f); len(f.VMs) != 2 || len(f.Failed) != 0 {
		t.Errorf("forked: %+v", f)
	}
	w.refused(400, "usage", "POST", "/v1/vms/a/fork", map[string]any{"n": 2, "as": "x"})
	w.refused(400, "usage", "POST", "/v1/vms/a/fork", map[string]any{"n": 101})
	w.do(200, "DELETE", "/v1/vms/a/checkpoints/first", nil, nil)
	w.refused(404, "not_found", "DELETE", "/v1/vms/a/checkpoints/first", nil)
	w.refused(404, "not_found", "GET", "/v1/diff?from=missing", nil)
	w.refused(400, "usage", "GET", "/v1/diff", nil)
}

// TestTheRest asks for what else there is.
func TestTheRest(t *testing.T) {
	w := newWorld(t, "")
	w.do(201, "POST", "/v1/vms", map[string]any{"name": "a"}, nil)
	var v Version
	if w.do(200, "GET", "/v1/version", nil, &v); v.Version != "test" {
		t.Errorf("version: %+v", v)
	}
	w.do(200, "GET", "/v1/du", nil, nil)
	w.do(200, "GET", "/v1/du?vm=a", nil, nil)
	w.refused(404, "not_found", "GET", "/v1/du?vm=a&vm=missing", nil)
	w.do(200, "GET", "/v1/images", nil, nil)
	w.refused(404, "not_found", "GET", "/v1/images/inspect?ref=nothing:1", nil)
	w.refused(404, "not_found", "DELETE", "/v1/images?ref=nothing:1", nil)
	w.refused(400, "usage", "POST", "/v1/images", map[string]any{"ref": "dir:/etc"})
	w.refused(400, "usage", "POST", "/v1/vms", map[string]any{"name": "b", "image": "tar:/etc/passwd"})
	w.refused(400, "usage", "POST", "/v1/vms", map[string]any{"name": "b", "net": "open"})
	w.refused(400, "usage", "POST", "/v1/vms", map[string]any{"name": "b", "allow": []string{"!"}})
	for _, inside := range []string{"10.0.0.0/8", "192.168.1.7:443", "169.254.169.254", "64:ff9b::a00:1"} {
		w.refused(400, "usage", "POST", "/v1/vms", map[string]any{"name": "b", "allow": []string{"example.com", inside}})
		w.refused(400, "usage", "POST", "/v1/vms/a/net/rules", map[string]any{"allow": []string{inside}})
	}
	w.refused(400, "usage", "POST", "/v1/vms", map[string]any{"name": "b", "ports": []string{"x"}})
	w.refused(400, "usage", "POST", "/v1/vms", map[string]any{"name": "../b"})
	w.do(200, "GET", "/v1/vms/a/net", nil, nil)
	w.do(200, "GET", "/v1/vms/a/ports", nil, nil)
	w.refused(409, "state", "POST", "/v1/vms/a/ports", map[string]any{"ports": []string{"80"}})
	w.refused(409, "state", "POST", "/v1/vms/a/net/rules", map[string]any{"deny": []string{"10.0.0.0/8"}})
	w.refused(409, "state", "GET", "/v1/vms/a/net/log", nil)
	w.do(200, "GET", "/v1/secrets", nil, nil)
	w.refused(409, "state", "PUT", "/v1/vms/a/secrets/NOTHING", nil)
	if text := w.do(200, "GET", "/v1/vms/a/logs?last=1", nil, nil); text != "fake guest: booted\n" {
		t.Errorf("logs: %q", text)
	}
	w.refused(404, "not_found", "GET", "/v1/vms/missing/logs?follow=true", nil)

	var begun ExecResult
	w.do(200, "POST", "/v1/vms/a/exec", map[string]any{"command": "sleep 1000", "detach": true}, &begun)
	var jobs JobList
	if w.do(200, "GET", "/v1/vms/a/jobs", nil, &jobs); len(jobs.Jobs) != 1 || jobs.Jobs[0].ID != begun.Job {
		t.Errorf("jobs: %+v, begun %+v", jobs, begun)
	}
	w.do(200, "POST", "/v1/vms/a/jobs/"+begun.Job+"/kill", map[string]any{"signal": "kill"}, nil)
	w.refused(400, "usage", "POST", "/v1/vms/a/jobs/"+begun.Job+"/kill", map[string]any{"signal": "NONE"})
	w.refused(404, "not_found", "POST", "/v1/vms/a/jobs/ffffffff/kill", nil)
}

// TestWatch hears of VMs and checkpoints that come and go, and of the end of the server.
func TestWatch(t *testing.T) {
	w := newWorld(t, "")
	a := w.request("GET", "/v1/events", nil)
	defer a.Body.Close()
	heard := make(chan event, 100)
	go func() {
		defer close(heard)
		readEvents(t, a.Body, func(e event) bool { heard <- e; return false })
	}()
	hear := func(what string, is func(event) bool) {
		t.Helper()
		for e := range heard {
			if is(e) {
				return
			}
		}
		t.Fatalf("not heard: %s", what)
	}
	vms := func(states ...string) func(event) bool {
		return func(e event) bool {
			var list VMList
			if e.name != "vms" || json.Unmarshal([]byte(e.data), &list) != nil || len(list.VMs) != len(states) {
				return false
			}
			for i, v := range list.VMs {
				if v.State != states[i] {
					return false
				}
			}
			return true
		}
	}
	hear("no VM", vms())
	w.do(201, "POST", "/v1/vms", map[string]any{"name": "a"}, nil)
	hear("a VM", vms("running"))
	w.do(200, "POST", "/v1/vms/a/pause", nil, nil)
	hear("a paused VM", vms("paused"))
	w.do(201, "POST", "/v1/vms/a/checkpoints", nil, nil)
	hear("a checkpoint", func(e event) bool { return e.name == "checkpoints" && strings.Contains(e.data, `"a"`) })
	w.do(200, "DELETE", "/v1/vms/a", nil, nil)
	hear("no VM again", vms())
	check(t, w.stop())
	for range heard {
	}
}

// TestHint words hints for a client of the server.
func TestHint(t *testing.T) {
	for was, want := range map[string]string{
		"let it run with 'noid resume dev'":                                      "let it run with POST /v1/vms/dev/resume",
		"choose another name, or 'noid destroy dev' it":                          "choose another name, or DELETE /v1/vms/dev it",
		"'noid checkpoints dev' lists the ids":                                   "GET /v1/vms/dev/checkpoints lists the ids",
		"'noid restore dev 1a2b3c4d' goes there; 'noid log dev' shows what left": "POST /v1/vms/dev/checkpoints/1a2b3c4d/restore goes there; GET /v1/vms/dev/history shows what left",
		"'noid logs dev' shows it; --wait-timeout waits longer":                  "GET /v1/vms/dev/logs shows it",
		"choose --net default":                                                   "",
		"run 'noid setup', or 'noid config set kernel PATH'":                     "run 'noid setup', or 'noid config set kernel PATH'",
		"noid diff A B names two moments":                                        "GET /v1/diff names two moments",
		"leave one of them out":                                                  "leave one of them out",
		"":                                                                       "",
	} {
		if got := hint(was); got != want {
			t.Errorf("%q: %q, not %q", was, got, want)
		}
	}
}
