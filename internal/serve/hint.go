package serve

import (
	"regexp"
	"slices"
	"strings"

	"noid/internal/lazy"
)

// Hints are worded for the command line. What a client of this server can do itself is worded as the request for it, what
// only a user at this machine can do stays a command, and what is about flags is left out.

// typed is a command of noid in a hint: "noid log dev", within quotes or not.
var typed = lazy.Regexp(`'?noid ([a-z]+)((?: [A-Za-z0-9@][A-Za-z0-9_.@-]*)*)'?`)

// requests are the requests for commands. NAME and REF are the command's arguments.
var requests = map[string]string{
	"auto": "PUT /v1/vms/NAME/auto", "checkpoint": "POST /v1/vms/NAME/checkpoints", "checkpoints": "GET /v1/vms/NAME/checkpoints",
	"create": "POST /v1/vms", "destroy": "DELETE /v1/vms/NAME", "diff": "GET /v1/diff", "exec": "POST /v1/vms/NAME/exec",
	"forget": "DELETE /v1/vms/NAME/checkpoints/REF", "fork": "POST /v1/vms/NAME/fork", "inspect": "GET /v1/vms/NAME",
	"list": "GET /v1/vms", "log": "GET /v1/vms/NAME/history", "logs": "GET /v1/vms/NAME/logs", "ps": "GET /v1/vms/NAME/jobs",
	"redo": "POST /v1/vms/NAME/redo", "rename": "POST /v1/vms/NAME/rename", "restore": "POST /v1/vms/NAME/checkpoints/REF/restore",
	"resume": "POST /v1/vms/NAME/resume", "start": "POST /v1/vms/NAME/start", "stop": "POST /v1/vms/NAME/stop",
	"undo": "POST /v1/vms/NAME/undo", "console": "GET /v1/vms/NAME/console", "run": "POST /v1/run", "cp": "GET /v1/vms/NAME/files",
	"net": "GET /v1/vms/NAME/net", "port": "GET /v1/vms/NAME/ports", "prune": "POST /v1/vms/NAME/prune",
}

// users are the commands of a user at this machine that stay.
var users = []string{"setup", "doctor", "config", "kernel", "secret", "network", "verify", "help", "image"}

// hint is a hint of the command line for a client, "" where nothing is left of it.
func hint(text string) string {
	var kept []string
	for clause := range strings.SplitSeq(text, "; ") {
		if clause = reword(clause); clause != "" {
			kept = append(kept, clause)
		}
	}
	return strings.Join(kept, "; ")
}

var flag = lazy.Regexp(`(^|[ ('])--?[a-z]`)

func reword(clause string) string {
	drop := false
	clause = typed().ReplaceAllStringFunc(clause, func(found string) string {
		m := typed().FindStringSubmatch(found)
		verb, args := m[1], strings.Fields(m[2])
		if slices.Contains(users, verb) {
			return found
		}
		request, known := requests[verb]
		if !known {
			drop = true
			return found
		}
		if strings.HasSuffix(found, "'") {
			return fill(request, args)
		}
		own := min(len(args), strings.Count(request, "NAME")+strings.Count(request, "REF"))
		for own < len(args) && args[own] == strings.ToUpper(args[own]) { // placeholders
			own++
		}
		return strings.Join(append([]string{fill(request, args[:own])}, args[own:]...), " ") // the rest are the sentence's
	})
	if drop || flag().MatchString(clause) {
		return ""
	}
	return clause
}

func fill(request string, args []string) string {
	name, ref := "NAME", "ID"
	if len(args) > 0 {
		name = args[0]
		if of, id, found := strings.Cut(name, "@"); found {
			name, ref = of, id
		}
	}
	if len(args) > 1 {
		ref = args[1]
	}
	return regexp.MustCompile("NAME|REF").ReplaceAllStringFunc(request, func(s string) string {
		if s == "NAME" {
			return name
		}
		return ref
	})
}
