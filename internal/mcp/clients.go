package mcp

import (
	"encoding/json"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"noid/internal/errs"
	"noid/internal/shell"
)

// Clients are the names that ClientConfig takes.
func Clients() []string { return []string{"claude", "codex", "cursor", "vscode"} }

// ClientConfig is what a user puts into the configuration of client, so that it starts command with args and env, and
// where.
func ClientConfig(client, command string, args []string, env map[string]string) (text, where string, err error) {
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
		return asJSON(map[string]any{"mcpServers": map[string]any{"noid": it}}), ".mcp.json of a project; or type: claude mcp add-json --scope user noid " +
			shell.Quote(compact(it)), nil
	case "codex":
		text, err := toml.Marshal(map[string]any{"mcp_servers": map[string]any{"noid": it}})
		return string(text), "~/.codex/config.toml", err
	case "cursor":
		return asJSON(map[string]any{"mcpServers": map[string]any{"noid": it}}), "~/.cursor/mcp.json, or .cursor/mcp.json of a project", nil
	case "vscode":
		it.Type = "stdio"
		return asJSON(map[string]any{"servers": map[string]any{"noid": it}}), ".vscode/mcp.json of a workspace", nil
	}
	return "", "", errs.New(errs.ErrUsage, "no client %.40q", client).Hint("it is one of " + strings.Join(Clients(), ", "))
}

func compact(v any) string {
	text, _ := json.Marshal(v)
	return string(text)
}
