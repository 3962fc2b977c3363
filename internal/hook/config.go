package hook

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"noid/internal/shell"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

var (
	//go:embed opencode.js
	openCode string
	//go:embed opencode-v1.js
	openCodeV1 string
	//go:embed opencode-v2.js
	openCodeV2 string
)

// Config is what a user puts into the configuration of the agent name, so that it asks the program of argv, and where.
func Config(name string, argv []string) (text, where string, err error) {
	if _, err := find(name); err != nil {
		return "", "", err
	}
	type handler struct {
		Type    string `json:"type" toml:"type"`
		Command string `json:"command" toml:"command"`
	}
	type group struct {
		Matcher string    `json:"matcher,omitempty" toml:"matcher,omitempty"`
		Hooks   []handler `json:"hooks" toml:"hooks"`
	}
	// Where noid cannot even be started the shell has another exit code than the 2 that stops the agent.
	command := shell.Quote(argv...) + " || exit 2"
	hooks := map[string]any{"hooks": map[string][]group{
		"PreToolUse":   {{"*", []handler{{"command", command}}}},
		"SessionStart": {{"", []handler{{"command", command}}}},
	}}
	switch name {
	case "claude":
		return indented(hooks), ".claude/settings.local.json of a project, or ~/.claude/settings.json", nil
	case "codex":
		text, err := toml.Marshal(hooks)
		return string(text), "~/.codex/config.toml; then type /hooks in Codex to trust them", err
	}
	plugin := openCodeV2
	if name == "opencode-v1" {
		plugin = openCodeV1
	}
	ask := strings.Replace(openCode, `["noid"]`, strings.TrimSpace(indented(argv)), 1)
	return ask + "\n" + plugin, ".opencode/plugins/noid.js of a project, or ~/.config/opencode/plugins/noid.js", nil
}

// indented is v, which always has a JSON, for a person.
func indented(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	e.Encode(v)
	return b.String()
}
