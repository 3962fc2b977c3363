// Package hook answers the hooks of coding agents, so that the commands that an agent runs are run in a VM: what the agent
// asks before it uses a tool comes in as JSON, and what it is to do instead goes out. Nothing here touches a VM.
package hook

import (
	"encoding/json"
	"slices"
	"strings"

	"noid/internal/errs"
)

// Options say where an agent's commands run.
type Options struct {
	VM  string
	Dir string // directory of the guest; "" for the guest's own default
	// Noid are the words that start noid: its path, perhaps after those of env(1).
	Noid []string
	// HostFiles leaves the agent's tools for files alone: they work on this machine's.
	HostFiles bool
}

// Clients are the agents whose hooks Answer and Config know.
func Clients() []string { return []string{"claude", "codex", "opencode", "opencode-v1"} }

// client is what tells one agent from another.
type client struct {
	// Its tools, in lower case: those that run a command, those for files, and others that do something outside of the VM.
	shells, files, others []string
	// cds is for an agent one of whose commands begins in the directory in which the last one ended.
	cds bool
}

// clients has the tools' names of
//   - Claude Code: https://code.claude.com/docs/en/hooks
//   - Codex: https://developers.openai.com/codex/hooks
//   - OpenCode: https://opencode.ai/docs/build/plugins, https://opencode.ai/v1/docs/plugins
var clients = map[string]client{
	"claude": {shells: []string{"bash"}, others: []string{"powershell", "monitor"}, cds: true,
		files: []string{"read", "edit", "write", "multiedit", "notebookread", "notebookedit", "glob", "grep", "ls", "lsp"}},
	"codex":       {shells: []string{"bash"}, files: []string{"apply_patch", "view_image"}},
	"opencode":    openCodes,
	"opencode-v1": openCodes,
}

var openCodes = client{shells: []string{"bash", "shell"},
	files: []string{"read", "edit", "write", "patch", "apply_patch", "multiedit", "glob", "grep", "list", "ls", "lsp"}}

func find(name string) (client, error) {
	c, ok := clients[name]
	if !ok {
		return c, errs.New(errs.ErrUsage, "no agent %.40q", name).Hint("it is one of " + strings.Join(Clients(), ", "))
	}
	return c, nil
}

// call is what an agent says to a hook. Each has a turn's id in a field of its own.
type call struct {
	Event   string          `json:"hook_event_name"`
	Session string          `json:"session_id"`
	Agent   string          `json:"agent_id"` // an agent below the session's own
	Prompt  string          `json:"prompt_id"`
	Turn    string          `json:"turn_id"`
	Dir     string          `json:"cwd"`
	Tool    string          `json:"tool_name"`
	Input   json.RawMessage `json:"tool_input"`
}

// answer is what Claude Code and Codex read of a hook, and noid's plugin for OpenCode too.
type answer struct {
	Output output `json:"hookSpecificOutput"`
}

type output struct {
	Event    string                     `json:"hookEventName"`
	Decision string                     `json:"permissionDecision,omitempty"`
	Reason   string                     `json:"permissionDecisionReason,omitempty"`
	Input    map[string]json.RawMessage `json:"updatedInput,omitempty"`
	Context  string                     `json:"additionalContext,omitempty"`
}

// Answer is what the hook of the agent name says to payload: nil for nothing, which lets the agent go on. An error is
// errs.ErrUsage; the agent must not go on then.
func Answer(name string, payload []byte, o Options) ([]byte, error) {
	cl, err := find(name)
	if err != nil {
		return nil, err
	}
	var c call
	if err := json.Unmarshal(payload, &c); err != nil {
		return nil, errs.New(errs.ErrUsage, "what came on standard input is no hook's JSON: %w", err)
	}
	out := output{Event: c.Event}
	switch c.Event {
	case "PreToolUse":
		err = cl.tool(c, o, &out)
	case "SessionStart":
		out.Context = o.context()
	case "":
		err = errs.New(errs.ErrUsage, "what came on standard input has no hook_event_name")
	}
	if err != nil || out.Decision == "" && out.Context == "" {
		return nil, err
	}
	return json.Marshal(answer{out})
}

// context is what an agent is told at its start.
func (o Options) context() string {
	text := "Commands of this session run in the microVM " + o.VM + " (noid)"
	if o.Dir != "" {
		text += ", in " + o.Dir
	}
	text += ", not on the user's machine."
	if !o.HostFiles {
		text += " Its files are there: read and write them with commands. Tools for files do not reach it."
	}
	return text + " Every turn can be taken back by the user: noid undo " + o.VM + "."
}

// tool decides about the use of a tool.
func (cl client) tool(c call, o Options, out *output) error {
	tool := strings.ToLower(c.Tool)
	var input map[string]json.RawMessage
	hasInput := json.Unmarshal(c.Input, &input) == nil
	switch {
	case slices.Contains(cl.shells, tool):
		var command string
		if !hasInput || json.Unmarshal(input["command"], &command) != nil || command == "" || strings.ContainsRune(command, 0) {
			return errs.New(errs.ErrUsage, "the tool %.40q has no command that a shell could run", c.Tool)
		}
		dir, err := takeDir(input, c.Dir, o.Dir)
		if err != nil {
			return err
		}
		// Strings alone: they marshal.
		input["command"], _ = json.Marshal(o.rewritten(cl, c, command, dir))
		out.Decision, out.Input = "allow", input
		out.Reason = "it runs in the microVM " + o.VM
	case slices.Contains(cl.files, tool) && o.HostFiles:
	case slices.Contains(cl.files, tool), slices.Contains(cl.others, tool),
		!strings.HasPrefix(tool, "mcp__") && hasInput && input["command"] != nil: // nobody here knows it, and it runs something
		out.Decision, out.Reason = "deny", o.denial(c.Tool)
	}
	return nil
}

func (o Options) denial(tool string) string {
	return "This session works in the microVM " + o.VM + ", and " + tool + " works on the user's machine. " +
		"Use the shell tool: its commands run in the VM, where the files are (cat, grep, sed, cat > FILE <<'EOF')."
}
