package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
)

// agent is a client of 'noid mcp'.
type agent struct {
	noid
	session *sdk.ClientSession
}

// serveMCP connects a client to a 'noid mcp' of its own. told hears of progress.
func (n noid) serveMCP(told func(*sdk.ProgressNotificationParams), args ...string) agent {
	n.t.Helper()
	cmd := n.cmd(n.t.Context(), append([]string{"mcp"}, args...)...)
	cmd.Stderr = os.Stderr
	client := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, &sdk.ClientOptions{
		ProgressNotificationHandler: func(_ context.Context, r *sdk.ProgressNotificationClientRequest) { told(r.Params) }})
	session, err := client.Connect(n.t.Context(), &sdk.CommandTransport{Command: cmd}, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { session.Close() })
	return agent{n, session}
}

// call calls a tool, and reads its result into out if that is not nil. It returns the result's text, and fails unless
// the tool failed as wantError says.
func (a agent) call(tool string, args map[string]any, out any, wantError bool) string {
	a.t.Helper()
	r, err := a.session.CallTool(a.t.Context(), &sdk.CallToolParams{Name: tool, Arguments: args})
	if err != nil {
		a.t.Fatalf("%s %v: %v", tool, args, err)
	}
	var text strings.Builder
	for _, c := range r.Content {
		if t, ok := c.(*sdk.TextContent); ok {
			text.WriteString(t.Text)
		}
	}
	if r.IsError != wantError {
		a.t.Fatalf("%s %v: error %v: %s", tool, args, r.IsError, text.String())
	}
	if out != nil {
		data, err := json.Marshal(r.StructuredContent)
		if err == nil {
			err = json.Unmarshal(data, out)
		}
		if err != nil {
			a.t.Fatalf("%s: %v: %s", tool, err, data)
		}
	}
	return text.String()
}

type executed struct {
	ExitCode       int    `json:"exit_code"`
	Stdout, Stderr string `json:",omitempty"`
	Output         string
	WentBack       bool `json:"went_back"`
}

func (a agent) exec(vm, command string) (e executed) {
	a.t.Helper()
	a.call("exec", map[string]any{"vm": vm, "command": command}, &e, false)
	return e
}

// TestMCP is a coding agent's session: it creates a VM, works in it, breaks it, and takes that back.
func TestMCP(t *testing.T) {
	t.Parallel()
	n := setup(t)
	files := t.TempDir()
	progress := make(chan string, 100)
	a := n.serveMCP(func(p *sdk.ProgressNotificationParams) { progress <- p.Message }, "--files", files)

	list, err := a.session.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	hints := map[string]*sdk.ToolAnnotations{}
	for _, tool := range list.Tools {
		hints[tool.Name] = tool.Annotations
	}
	for name, reads := range map[string]bool{"list": true, "read_file": true, "diff": true, "history": true, "exec": false, "create": false, "undo": false, "destroy": false} {
		if h := hints[name]; h == nil || h.ReadOnlyHint != reads || *h.DestructiveHint != (name == "destroy") {
			t.Errorf("%s has annotations %+v", name, h)
		}
	}

	var made struct{ Name, State string }
	a.call("create", map[string]any{"vm": "a", "auto": "exec"}, &made, false)
	if made.Name != "a" || made.State != "running" {
		t.Errorf("created: %+v", made)
	}
	if e := a.exec("a", "echo out; echo err >&2; exit 3"); e != (executed{ExitCode: 3, Stdout: "out\n", Stderr: "err\n"}) {
		t.Errorf("exec: %+v", e)
	}

	// Files both ways, text and not.
	binary := "\xff\x00\xfe"
	a.call("write_file", map[string]any{"vm": "a", "path": "/root/text", "content": "one\ntwo\n", "mode": "600"}, nil, false)
	a.call("write_file", map[string]any{"vm": "a", "path": "/root/binary", "content": "/wD+", "encoding": "base64"}, nil, false)
	n.equal("modes", "600\n644\n", n.want(0, "exec", "a", "stat", "-c", "%a", "/root/text", "/root/binary"))
	n.equal("a binary file", binary, n.want(0, "exec", "a", "cat", "/root/binary"))
	var read struct {
		Content, Encoding string
		Size, Next        int64
	}
	a.call("read_file", map[string]any{"vm": "a", "path": "/root/text", "offset": 4, "max": 3}, &read, false)
	if read.Content != "two" || read.Encoding != "utf-8" || read.Size != 8 || read.Next != 7 {
		t.Errorf("a part of a file: %+v", read)
	}
	a.call("read_file", map[string]any{"vm": "a", "path": "/root/binary"}, &read, false)
	if read.Content != "/wD+" || read.Encoding != "base64" {
		t.Errorf("a binary file: %+v", read)
	}
	if text := a.call("write_file", map[string]any{"vm": "a", "path": "/etc", "content": "x"}, nil, true); !strings.Contains(text, "/etc is not a regular file") {
		t.Errorf("a directory for a file: %s", text)
	}
	if text := a.call("write_file", map[string]any{"vm": "a", "path": "/none/x", "content": "x"}, nil, true); !strings.Contains(text, "copying content to") || strings.Contains(text, os.TempDir()) {
		t.Errorf("a file in no directory: %s", text)
	}
	check(t, os.WriteFile(filepath.Join(files, "in"), []byte("from the host"), 0o600))
	a.call("copy_in", map[string]any{"vm": "a", "host": "in", "guest": "/root/in"}, nil, false)
	n.equal("a copied file", "from the host", n.want(0, "exec", "a", "cat", "/root/in"))
	check(t, os.Symlink("/etc", filepath.Join(files, "link")))
	for _, host := range []string{"/etc/passwd", "../x", "link/passwd", "link"} {
		a.call("copy_in", map[string]any{"vm": "a", "host": host, "guest": "/root/stolen"}, nil, true)
	}

	// So are outputs.
	var coded struct {
		Stderr       string
		StdoutBase64 string `json:"stdout_base64"`
		StderrBase64 string `json:"stderr_base64"`
	}
	a.call("exec", map[string]any{"vm": "a", "command": "cat /root/binary; echo text >&2"}, &coded, false)
	if coded.StdoutBase64 != "/wD+" || coded.Stderr != "text\n" || coded.StderrBase64 != "" {
		t.Errorf("binary output: %+v", coded)
	}

	// Long output is cut, and can be read on.
	e := a.exec("a", "seq 100000; echo end >&2")
	if !strings.HasPrefix(e.Stdout, "1\n2\n") || !strings.HasSuffix(e.Stdout, "\n100000\n") || len(e.Stdout) > 17<<10 || e.Output == "" {
		t.Errorf("long output: %d bytes, rest in %q", len(e.Stdout), e.Output)
	}
	var more struct {
		Text        string
		Total, Next int
	}
	a.call("read_output", map[string]any{"output": e.Output, "offset": 20, "max": 6}, &more, false)
	if more.Text != "\n11\n12" || more.Total != 588895 {
		t.Errorf("more of it: %+v", more)
	}
	r, err := a.session.ReadResource(t.Context(), &sdk.ReadResourceParams{URI: "noid://output/" + e.Output + "/stderr"})
	if err != nil || r.Contents[0].Text != "end\n" {
		t.Errorf("the resource: %+v, %v", r, err)
	}

	// It breaks the guest, sees that, and takes it back.
	a.exec("a", "echo good >/root/state")
	a.exec("a", "rm -rf /root; echo bad >/etc/broken")
	var diff struct {
		Total   int
		Changes []struct{ Kind, Path string }
	}
	a.call("diff", map[string]any{"from": "a"}, &diff, false)
	if found := fmt.Sprint(diff.Changes); !strings.Contains(found, "{added /etc/broken}") || !strings.Contains(found, "{removed /root/state}") {
		t.Errorf("what it broke: %+v", diff)
	}
	a.call("undo", map[string]any{"vm": "a"}, nil, false)
	if e := a.exec("a", "cat /root/state; ls /etc/broken"); e.Stdout != "good\n" || e.ExitCode == 0 {
		t.Errorf("after the undo: %+v", e)
	}
	a.call("try", map[string]any{"vm": "a", "command": "rm /root/state; exit 1"}, &e, false)
	if !e.WentBack || a.exec("a", "cat /root/state").Stdout != "good\n" {
		t.Errorf("a try that failed: %+v", e)
	}
	if text := a.call("exec", map[string]any{"vm": "missing", "command": "true"}, nil, true); !strings.Contains(text, `vm "missing"`) || !strings.Contains(text, "hint: ") {
		t.Errorf("a VM that is not there: %s", text)
	} else if !strings.Contains(text, "the tool list") {
		t.Errorf("a hint for the command line: %s", text)
	}
	a.call("create", map[string]any{"vm": "b", "net": "open"}, nil, true)
	a.call("create", map[string]any{"vm": "b", "image": "dir:/etc"}, nil, true)

	a.exploresMCP(progress)
	a.cancelsMCP()
	a.call("destroy", map[string]any{"vm": "a", "checkpoints": true}, nil, false)
	if text := a.call("list", nil, nil, false); strings.Contains(text, `"a"`) {
		t.Errorf("after the destroy: %s", text)
	}
}

// exploresMCP has variants run side by side, and one of them kept.
func (a agent) exploresMCP(progress <-chan string) {
	a.t.Helper()
	var explored struct {
		Variants []struct {
			Variant    int
			ExitCode   int `json:"exit_code"`
			Checkpoint string
		}
	}
	params := &sdk.CallToolParams{Name: "explore", Arguments: map[string]any{"vm": "a", "commands": []string{"echo 1 >/root/variant", "false"}}}
	params.SetProgressToken("explored")
	r, err := a.session.CallTool(a.t.Context(), params)
	if err != nil || r.IsError {
		a.t.Fatalf("explore: %+v, %v", r, err)
	}
	data, err := json.Marshal(r.StructuredContent)
	check(a.t, err)
	check(a.t, json.Unmarshal(data, &explored))
	if len(explored.Variants) != 2 || explored.Variants[0].ExitCode != 0 || explored.Variants[1].ExitCode != 1 {
		a.t.Errorf("explored: %s", data)
	}
	for heard := ""; !strings.Contains(heard, "variant 1 ended") || !strings.Contains(heard, "variant 2 ended"); {
		select {
		case text := <-progress:
			heard += text + "\n"
		case <-time.After(time.Minute):
			a.t.Fatalf("progress: %q", heard)
		}
	}
	a.call("keep", map[string]any{"vm": "a", "variant": 1}, nil, false)
	a.equal("the kept variant", "1\n", a.want(0, "exec", "a", "cat", "/root/variant"))
}

// cancelsMCP cancels a command: it ends in the guest, and the server goes on.
func (a agent) cancelsMCP() {
	a.t.Helper()
	ctx, cancel := context.WithCancel(a.t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := a.session.CallTool(ctx, &sdk.CallToolParams{Name: "exec", Arguments: map[string]any{"vm": "a", "command": "echo $$ >/root/pid; exec sleep 1000"}})
		ended <- err
	}()
	a.until("the command runs", func() bool {
		_, _, code := a.run("exec", "a", "--", "sh", "-c", "kill -0 $(cat /root/pid)")
		return code == 0
	})
	cancel()
	select {
	case err := <-ended:
		if err == nil {
			a.t.Error("a cancelled call succeeded")
		}
	case <-time.After(time.Minute):
		a.t.Fatal("a cancelled call goes on")
	}
	a.until("the command has ended", func() bool {
		_, _, code := a.run("exec", "a", "--", "sh", "-c", "kill -0 $(cat /root/pid)")
		return code != 0
	})
	a.exec("a", "true")
	// The server itself is interrupted, whatever it is doing.
	a.want(0, "exec", "a", "rm", "/root/pid")
	serve := a.cmd(a.t.Context(), "mcp")
	in, err := serve.StdinPipe()
	check(a.t, err)
	defer in.Close()
	check(a.t, serve.Start())
	fmt.Fprintln(in, "junk\n"+`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}
{"jsonrpc":"2.0","method":"notifications/initialized"}
{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"exec","arguments":{"vm":"a","command":"echo $$ >/root/pid; exec sleep 1000"}}}`)
	running := func() bool {
		_, _, code := a.run("exec", "a", "--", "sh", "-c", "kill -0 $(cat /root/pid)")
		return code == 0
	}
	a.until("the command runs", running)
	check(a.t, serve.Process.Signal(os.Interrupt))
	serve.Wait()
	if code := serve.ProcessState.ExitCode(); code != 130 {
		a.t.Errorf("an interrupted server ends with %d", code)
	}
	a.until("the command has ended", func() bool { return !running() })
}

// TestMCPPython is a session by the client that the protocol's authors publish for Python.
func TestMCPPython(t *testing.T) {
	python := os.Getenv("NOID_TEST_PYTHON")
	if python == "" {
		t.Skip("NOT RUN: 'make torture' installs Python's client of the protocol")
	}
	n := setup(t)
	serve := n.cmd(t.Context(), "mcp")
	client := exec.CommandContext(t.Context(), python, append([]string{"testdata/session.py"}, serve.Args...)...)
	client.Env = serve.Env
	if out, err := client.CombinedOutput(); err != nil || !strings.HasSuffix(string(out), "good\n") {
		t.Errorf("%v: %s", err, out)
	}
}
