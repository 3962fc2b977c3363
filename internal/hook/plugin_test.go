package hook

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// host loads a plugin as OpenCode does, in its place (https://opencode.ai/docs/build/plugins/migrate-v1 has both
// interfaces), has it see the calls of tools that are its arguments, and prints what becomes of each.
const host = `
const [path, v1, ...calls] = process.argv.slice(2)
const plugin = await import(path)
let before
if (v1 === "v1") {
  const hooks = await plugin.NoidPlugin({ directory: "/p" })
  await hooks["chat.message"]({ sessionID: "ses_1", messageID: "msg_7" }, {})
  before = (tool, args) => hooks["tool.execute.before"]({ tool, sessionID: "ses_1", callID: "1" }, { args })
} else {
  await plugin.default.setup({
    location: { directory: "/p" },
    tool: { hook: async (name, run) => { if (name === "execute.before") before = (tool, input) => run({ tool, input, sessionID: "ses_1", messageID: "msg_7" }) } },
  })
}
for (const call of calls) {
  const [tool, args] = JSON.parse(call)
  try {
    await before(tool, args)
    console.log(JSON.stringify(args))
  } catch (e) {
    console.log("refused: " + e.message)
  }
}
`

// TestPlugins: OpenCode's plugins ask noid, and do as it says.
func TestPlugins(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	driver := write("host.mjs", host, 0o600)
	// In place of noid: it keeps what came, and says what the test has it say.
	noid := write("noid", "#!/bin/sh\ncat >>"+dir+"/asked\necho >>"+dir+"/asked\ncase $(tail -n 1 "+dir+"/asked) in\n"+
		"*'\"command\":\"fail\"'*) echo 'no hook' >&2; exit 2;;\n"+
		"*'\"tool_name\":\"bash\"'*) echo '{\"hookSpecificOutput\":{\"permissionDecision\":\"allow\",\"updatedInput\":{\"command\":\"other\"}}}';;\n"+
		"*'\"tool_name\":\"read\"'*) echo '{\"hookSpecificOutput\":{\"permissionDecision\":\"deny\",\"permissionDecisionReason\":\"why\"}}';;\nesac\n", 0o700)
	for agent, version := range map[string]string{"opencode": "v2", "opencode-v1": "v1"} {
		os.Remove(dir + "/asked")
		text, _, err := Config(agent, []string{noid, "hook", "it's"})
		if err != nil {
			t.Fatal(err)
		}
		c := exec.Command("node", driver, write(agent+".mjs", text, 0o600), version, `["bash",{"command":"make","workdir":"/p"}]`, `["read",{"filePath":"/p/a"}]`,
			`["webfetch",{"url":"u"}]`, `["bash",{"command":"fail"}]`)
		out, err := c.CombinedOutput()
		if want := "{\"command\":\"other\"}\nrefused: why\n{\"url\":\"u\"}\nrefused: no hook\n"; err != nil || string(out) != want {
			t.Errorf("%s: %v: %s", agent, err, out)
		}
		asked, _ := os.ReadFile(dir + "/asked")
		first, _, _ := strings.Cut(string(asked), "\n")
		var c1 call
		if err := json.Unmarshal([]byte(first), &c1); err != nil || c1.Event != "PreToolUse" || c1.Session != "ses_1" || c1.Turn != "msg_7" || c1.Dir != "/p" || c1.Tool != "bash" ||
			string(c1.Input) != `{"command":"make","workdir":"/p"}` {
			t.Errorf("%s asked %s (%v)", agent, first, err)
		}
	}
}

// TestConfig: where noid cannot be started the agent is stopped too.
func TestConfig(t *testing.T) {
	t.Parallel()
	for _, agent := range []string{"claude", "codex"} {
		text, _, err := Config(agent, []string{"/none/no id", "hook", agent})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(text, `'/none/no id' hook `+agent+` || exit 2`) || !strings.Contains(text, "PreToolUse") || !strings.Contains(text, "SessionStart") {
			t.Errorf("%s: %s", agent, text)
		}
		if agent == "claude" {
			var settings struct {
				Hooks map[string][]struct {
					Hooks []struct{ Type, Command string }
				}
			}
			if err := json.Unmarshal([]byte(text), &settings); err != nil {
				t.Fatal(err)
			}
			err := exec.Command("sh", "-c", settings.Hooks["PreToolUse"][0].Hooks[0].Command).Run()
			if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 2 {
				t.Errorf("without noid: %v", err)
			}
		}
	}
}
