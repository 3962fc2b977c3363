package mcp

import (
	"encoding/json"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"noid/internal/errs"
)

// Clients are the names that ClientConfig takes.
func Clients() []string { return []string{"claude", "codex", "cursor", "vscode"} }

// ClientConfig is what a user puts into the configuration of client, so that it starts command with args and env.
func ClientConfig(client, command string, args []string, env map[string]string) (string, error) {
	type serverJSON struct {
		Type    string            `json:"type,omitempty" toml:"type,omitempty"`
		Command string            `json:"command" toml:"command"`
		Args    []string          `json:"args" toml:"args"`
		Env     map[string]string `json:"env,omitempty" toml:"env,omitempty"`
	}
	it := serverJSON{Command: command, Args: args, Env: env}
	asJSON := func(v any) string {
		text, _ := json.MarshalIndent(v, "", "  ") // strings alone
		return string(text) + "\n"
	}
	switch client {
	case "claude":
		it.Type = "stdio"
		return "# In .mcp.json of a project, or: claude mcp add-json --scope user noid '" + strings.ReplaceAll(compact(it), "'", `'\''`) + "'\n" +
			asJSON(map[string]any{"mcpServers": map[string]any{"noid": it}}), nil
	case "codex":
		text, err := toml.Marshal(map[string]any{"mcp_servers": map[string]any{"noid": it}})
		return "# In ~/.codex/config.toml:\n" + string(text), err
	case "cursor":
		return "# In ~/.cursor/mcp.json, or .cursor/mcp.json of a project:\n" + asJSON(map[string]any{"mcpServers": map[string]any{"noid": it}}), nil
	case "vscode":
		it.Type = "stdio"
		return "# In .vscode/mcp.json of a workspace:\n" + asJSON(map[string]any{"servers": map[string]any{"noid": it}}), nil
	}
	return "", errs.New(errs.ErrUsage, "no client %.40q", client).Hint("it is one of " + strings.Join(Clients(), ", "))
}

func compact(v any) string {
	text, _ := json.Marshal(v)
	return string(text)
}
