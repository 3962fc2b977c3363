package mcp

import (
	"strings"

	"noid/internal/lazy"
)

// toolOf is the tool that does what a command of the command line does.
var toolOf = map[string]string{"list": "list", "create": "create", "start": "start", "stop": "stop", "destroy": "destroy", "auto": "auto",
	"exec": "exec", "try": "try", "checkpoint": "checkpoint", "checkpoints": "history", "log": "history", "restore": "restore", "fork": "fork",
	"undo": "undo", "redo": "redo", "forget": "forget", "diff": "diff", "explore": "explore", "keep": "keep"}

// command is one of the command line in a hint.
var command = lazy.Regexp(`'noid ([a-z-]+)[^']*'`)

// forTools is a hint, which is written for the command line, for a client that has tools alone. What no tool does is for
// the client's user.
func forTools(hint string) string {
	text := command().ReplaceAllStringFunc(hint, func(quoted string) string {
		if tool := toolOf[command().FindStringSubmatch(quoted)[1]]; tool != "" {
			return "the tool " + tool
		}
		return quoted
	})
	if strings.Contains(text, "noid ") || strings.Contains(text, " -") || strings.HasPrefix(text, "-") {
		return "hint for the user, at a shell: " + hint
	}
	return "hint: " + text
}
