package hook

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ask is what the hook says to the payload of a file.
func ask(t *testing.T, agent, file string, o Options) (out output) {
	t.Helper()
	payload, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	text, err := Answer(agent, payload, o)
	if err != nil {
		t.Fatal(err)
	}
	var a answer
	if text != nil {
		if err := json.Unmarshal(text, &a); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
	}
	return a.Output
}

// words is what a shell makes of command.
func words(t *testing.T, shell, command string) []string {
	t.Helper()
	c := exec.Command(shell, "-c", "noid() { printf '%s\\0' \"$@\"; }; "+command)
	c.Env = []string{"PATH=" + os.Getenv("PATH")}
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s", shell, err, command)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
}

func text(t *testing.T, field json.RawMessage) (s string) {
	t.Helper()
	if err := json.Unmarshal(field, &s); err != nil {
		t.Fatalf("%v: %s", err, field)
	}
	return s
}

// TestCommands: what agents say, as their documentation has it, leads to the right exec. What else was in the input
// stays.
func TestCommands(t *testing.T) {
	t.Parallel()
	o := Options{VM: "work", Noid: []string{"noid"}}
	for _, test := range []struct {
		agent, file string
		want        []string
	}{
		{"claude", "claude-bash.json", []string{"exec", "--auto", "exec", "--turn", "5f0c7a4e-4c0e-4a35-9d0b-1c2f5b6f7a80", "work", "--", "sh", "-c", keepsDir,
			"sh", "cd /tmp && printf '%s\\n' \"it's\" <<'EOF'\n$HOME\nEOF\nexit 3", "/tmp/.noid-cwd-00893aaf-19fa-41d2-8238-13269b9b3ca0"}},
		{"codex", "codex-bash.json", []string{"exec", "--auto", "exec", "--turn", "7", "work", "--", "sh", "-c", plain, "sh", "git status"}},
		{"opencode", "opencode-bash.json", []string{"exec", "--auto", "exec", "--turn", "msg_1", "work", "--", "sh", "-c", plain, "sh", "make", "lib"}},
	} {
		out := ask(t, test.agent, test.file, o)
		if out.Event != "PreToolUse" || out.Decision != "allow" {
			t.Errorf("%s: %+v", test.file, out)
		}
		for _, shell := range []string{"sh", "bash", "dash"} {
			if got := words(t, shell, text(t, out.Input["command"])); !cmp.Equal(got, test.want) {
				t.Errorf("%s, %s: %s", test.file, shell, cmp.Diff(test.want, got))
			}
		}
		if test.agent == "claude" && (string(out.Input["timeout"]) != "120000" || text(t, out.Input["description"]) != "Print a line" || len(out.Input) != 4) {
			t.Errorf("the input is %s", out.Input)
		}
		if out.Input["workdir"] != nil {
			t.Errorf("%s: a directory of the VM is left to the agent's own shell", test.file)
		}
	}
}

// TestOthers: what would work beside the VM is refused, and what does not concern it is let be.
func TestOthers(t *testing.T) {
	t.Parallel()
	o := Options{VM: "work", Dir: "/srv", Noid: []string{"noid"}}
	for _, test := range []struct{ agent, file, decision string }{
		{"claude", "claude-write.json", "deny"}, {"codex", "codex-patch.json", "deny"},
		{"claude", "claude-mcp.json", ""}, {"claude", "claude-prompt.json", ""},
	} {
		out := ask(t, test.agent, test.file, o)
		if out.Decision != test.decision || out.Input != nil || test.decision == "deny" && !strings.Contains(out.Reason, "microVM work") {
			t.Errorf("%s: %+v", test.file, out)
		}
	}
	if out := ask(t, "claude", "claude-start.json", o); !strings.Contains(out.Context, "microVM work (noid), in /srv") || !strings.Contains(out.Context, "noid undo work") {
		t.Errorf("at the start: %+v", out)
	}
	o.HostFiles = true
	for _, file := range []string{"claude-write.json"} {
		if out := ask(t, "claude", file, o); out.Decision != "" {
			t.Errorf("%s with the host's files: %+v", file, out)
		}
	}
	unknown := `{"hook_event_name":"PreToolUse","tool_name":"RunAnywhere","tool_input":{"command":"rm -rf /"}}`
	if text, err := Answer("claude", []byte(unknown), o); err != nil || !bytes.Contains(text, []byte(`"deny"`)) {
		t.Errorf("a tool that runs something: %s %v", text, err)
	}
}

// TestRefused: what cannot be answered is an error, so that the agent does not go on.
func TestRefused(t *testing.T) {
	t.Parallel()
	for _, payload := range []string{"", "[]", "{}", `{"hook_event_name":"PreToolUse","tool_name":"Bash"}`, `{"hook_event_name":"PreToolUse","tool_name":"Bash","tool_input":{"command":""}}`,
		`{"hook_event_name":"PreToolUse","tool_name":"Bash","tool_input":{"command":["ls"]}}`, `{"hook_event_name":"PreToolUse","tool_name":"Bash","tool_input":{"command":"a\u0000b"}}`} {
		if text, err := Answer("claude", []byte(payload), Options{VM: "work", Noid: []string{"noid"}}); err == nil {
			t.Errorf("%s is answered %s", payload, text)
		}
	}
	if _, err := Answer("other", []byte(`{}`), Options{}); err == nil {
		t.Error("an agent that is not known is answered")
	}
}

// TestDirs: the directory that a command asks for is one of the guest.
func TestDirs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ asked, guest, want string }{
		{`"/p"`, "/srv", "/srv"}, {`"/p/a/"`, "/srv", "/srv/a"}, {`"/p/a"`, "", "a"}, {`"/pa"`, "/srv", "/pa"}, {`"a/b"`, "/srv", "/srv/a/b"}, {`""`, "/srv", "/srv"}, {`"/p/../q"`, "/srv", "/p/../q"},
	} {
		input := map[string]json.RawMessage{"workdir": json.RawMessage(test.asked)}
		if got, err := takeDir(input, "/p", test.guest); err != nil || got != test.want || len(input) != 0 {
			t.Errorf("%s below /p with %q: %q, %v", test.asked, test.guest, got, err)
		}
	}
}

// TestKeepsDir: a command begins in the directory in which the last one ended, with its own exit code.
func TestKeepsDir(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "cwd")
	if err := os.Mkdir(filepath.Join(dir, "it's a dir"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, shell := range [][]string{{"bash"}, {"dash"}, {"busybox", "sh"}} {
		os.Remove(file)
		path := t.TempDir() // with that shell alone
		for _, program := range []string{"cat", shell[0]} {
			full, err := exec.LookPath(program)
			if err != nil {
				t.Fatal(err)
			}
			name := program
			if program == shell[0] && program != "bash" {
				name = "sh"
			}
			if err := os.Symlink(full, filepath.Join(path, name)); err != nil {
				t.Fatal(err)
			}
		}
		run := func(command string) (out string, code int) {
			c := exec.Command("sh", "-c", keepsDir, "sh", command, file)
			c.Dir, c.Env = dir, []string{"PATH=" + path}
			text, _ := c.CombinedOutput()
			return string(text), c.ProcessState.ExitCode()
		}
		for _, step := range []struct {
			command, out string
			code         int
		}{
			{`cd "it's a dir"; exit 3`, "", 3},
			{`echo "${PWD##*/} $# $1"`, "it's a dir 0 \n", 0},
			{"cat <<'EOF'\n$x `y`\nEOF\nfalse", "$x `y`\n", 1},
			{"cd ..\necho \"${PWD##*/}\"", filepath.Base(dir) + "\n", 0},
			{`(cd /); echo "${PWD##*/}"`, filepath.Base(dir) + "\n", 0},
		} {
			if out, code := run(step.command); out != step.out || code != step.code {
				t.Errorf("%s: %s: %d %q", shell, step.command, code, out)
			}
		}
	}
}

func FuzzAnswer(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.json")
	for _, file := range files {
		payload, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		for _, agent := range Clients() {
			text, err := Answer(agent, payload, Options{VM: "work", Noid: []string{"noid"}})
			var a answer
			if err != nil || text == nil {
				continue
			}
			if err := json.Unmarshal(text, &a); err != nil {
				t.Fatalf("%v: %s", err, text)
			}
			if (a.Output.Decision == "allow") != (a.Output.Input != nil) {
				t.Fatalf("%s", text)
			}
		}
	})
}
