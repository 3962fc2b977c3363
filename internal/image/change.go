package image

import (
	"encoding/json"
	"path"
	"slices"
	"strings"

	"noid/internal/errs"
)

// instructions are those of a Dockerfile that change a Config.
var instructions = map[string]func(*Config, string) bool{
	"CMD":        func(c *Config, rest string) bool { c.Cmd = words(rest); return true },
	"ENTRYPOINT": func(c *Config, rest string) bool { c.Entrypoint = words(rest); return true },
	"ENV":        (*Config).setEnv,
	"USER": func(c *Config, rest string) bool {
		c.User = rest
		return rest != "" && !strings.ContainsAny(rest, " \t")
	},
	"WORKDIR": func(c *Config, rest string) bool {
		if !path.IsAbs(rest) {
			rest = path.Join("/", c.WorkingDir, rest)
		}
		c.WorkingDir = path.Clean(rest)
		return rest != ""
	},
}

// Change carries out lines of a Dockerfile: CMD, ENTRYPOINT, ENV, USER and WORKDIR, as 'docker commit' does. A new
// entrypoint takes the old command away. What is none of them is errs.ErrUsage.
func (c *Config) Change(lines []string) error {
	old := c.Cmd
	for _, line := range lines {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		change, ok := instructions[strings.ToUpper(name)]
		if !ok {
			return errs.New(errs.ErrUsage, "no instruction %.40q", name).Hint("CMD, ENTRYPOINT, ENV, USER or WORKDIR, as in a Dockerfile")
		}
		if rest = strings.TrimSpace(rest); rest == "" || strings.ContainsRune(line, 0) || !change(c, rest) {
			return errs.New(errs.ErrUsage, "%.200q is not what a Dockerfile could say", line).Hint(`such as CMD ["python", "app.py"] or ENV KEY=VALUE`)
		}
		if strings.EqualFold(name, "ENTRYPOINT") && slices.Equal(c.Cmd, old) {
			c.Cmd, old = nil, nil
		}
	}
	return nil
}

// words are the words of a command: a JSON array, or a line for a shell.
func words(rest string) []string {
	var list []string
	if json.Unmarshal([]byte(rest), &list) == nil {
		return list
	}
	return []string{"/bin/sh", "-c", rest}
}

// setEnv takes KEY=VALUE words, with quotes as a shell has them, or the old KEY VALUE.
func (c *Config) setEnv(rest string) bool {
	if key, value, _ := strings.Cut(rest, " "); !strings.Contains(key, "=") {
		return c.setVariable(key + "=" + strings.TrimSpace(value))
	}
	list, ok := unquote(rest)
	for _, word := range list {
		ok = ok && c.setVariable(word)
	}
	return ok
}

func (c *Config) setVariable(word string) bool {
	key, _, found := strings.Cut(word, "=")
	c.Env = append(slices.DeleteFunc(slices.Clone(c.Env), func(old string) bool { return strings.HasPrefix(old, key+"=") }), word)
	return found && key != ""
}

// unquote splits at blanks as a shell does. False is a quote without an end.
func unquote(text string) (list []string, ok bool) {
	var word strings.Builder
	quote, escaped, begun := rune(0), false, false
	for _, r := range text {
		switch {
		case escaped:
			word.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			escaped, begun = true, true
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '"' || r == '\''):
			quote, begun = r, true
		case quote == 0 && (r == ' ' || r == '\t'):
			if begun {
				list = append(list, word.String())
			}
			word.Reset()
			begun = false
		default:
			word.WriteRune(r)
			begun = true
		}
	}
	if begun {
		list = append(list, word.String())
	}
	return list, quote == 0 && !escaped
}
