package hook

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"path"
	"slices"
	"strings"

	"noid/internal/errs"
	"noid/internal/shell"
)

// The guest's end of a command: the shell that agents write for where there is one, else any.
const (
	begin = `if command -v bash >/dev/null; then s=bash; else s=sh; fi; `
	// plain goes to a directory below its own first, if there is one.
	plain = begin + `cd "${2:-.}" && exec $s -c "$1"`
	// keepsDir begins where the command before it ended, and notes where this one does, in the guest: so it is taken
	// back with all else. What cannot be read or written there is not noticed.
	keepsDir = begin + `exec $s -c 'cd "$(cat "$2" 2>/dev/null)" 2>/dev/null; __noid=$2; trap '\''pwd >"$__noid"'\'' EXIT; eval "set --
$1"' $s "$1" "$2"`
)

// rewritten is the command that runs command in the VM.
func (o Options) rewritten(cl client, c call, command, dir string) string {
	words := append(slices.Clone(o.Noid), "exec", "--auto", "exec")
	if turn := id(c.Prompt + c.Turn); turn != "" {
		words = append(words, "--turn", turn)
	}
	if path.IsAbs(dir) {
		words = append(words, "-w", dir)
	}
	words = append(words, o.VM, "--", "sh", "-c")
	if cl.cds {
		words = append(words, keepsDir, "sh", command, "/tmp/.noid-cwd-"+id(c.Session+c.Agent))
	} else {
		words = append(words, plain, "sh", command)
		if dir != "" && !path.IsAbs(dir) {
			words = append(words, dir)
		}
	}
	return shell.Quote(words...)
}

// takeDir takes the directory of a command out of its input: the agent's own shell does not go there. One below dir,
// where the agent works on this machine, is the same below guest.
func takeDir(input map[string]json.RawMessage, dir, guest string) (string, error) {
	const field = "workdir" // of OpenCode
	if input[field] == nil {
		return guest, nil
	}
	var asked string
	if json.Unmarshal(input[field], &asked) != nil || strings.ContainsRune(asked, 0) {
		return "", errs.New(errs.ErrUsage, "%s is no path", field)
	}
	delete(input, field)
	below, isBelow := strings.CutPrefix(path.Clean(asked)+"/", path.Clean(dir)+"/")
	switch {
	case asked == "":
		return guest, nil
	case isBelow && dir != "":
		return path.Join(guest, strings.TrimSuffix(below, "/")), nil
	case !path.IsAbs(asked):
		return path.Join(guest, asked), nil
	}
	return asked, nil
}

// id is an agent's name of something, as a file name and a turn's: its own where it is short and plain, else its sum.
func id(name string) string {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
	if len(name) <= 80 && strings.Trim(name, plain) == "" {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:16])
}
