package checkpoint

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// What made a checkpoint by itself, for Cause.By.
const (
	ByAuto    = "auto"    // before a command, or after a while
	ByTry     = "try"     // before a command that may be taken back
	ByRestore = "restore" // the present, before a restore in place
	ByKeep    = "keep"    // the present, before it was replaced by a variant of an exploration
	ByUndo    = "undo"    // the present, before an undo
	ByRedo    = "redo"    // the present, before a redo
	ByExplore = "explore" // the start of an exploration, or what a variant of it has made
)

// Cause is what led to a checkpoint. The zero one: somebody asked for it.
type Cause struct {
	By string `json:"by,omitempty"` // one of the constants
	// What is the command that was to run, or the id of the checkpoint that was restored.
	What string `json:"what,omitempty"`
	Turn string `json:"turn,omitempty"` // the client's, of which it is the first
}

// Backup reports whether c led to a checkpoint of the present that somebody was about to replace, but for undo and redo.
func (c Cause) Backup() bool { return c.By == ByRestore || c.By == ByKeep }

// Replaced reports whether c led to a checkpoint of the present that was about to be replaced by another, Cause.What.
func (c Cause) Replaced() bool { return c.Backup() || c.By == ByUndo || c.By == ByRedo }

// BackupLabel begins the label of a checkpoint of the present before a restore in place. A noid without Cause has made
// such ones too.
const BackupLabel = "before restore to "

// Automatic reports whether noid made c by itself, so that it may remove it too.
func (c Record) Automatic() bool {
	return c.Cause.By != "" || len(c.Label) > len(BackupLabel) && strings.HasPrefix(c.Label, BackupLabel)
}

// Labelled reports whether a person has given c a label.
func (c Record) Labelled() bool { return c.Label != "" && !c.Automatic() }

// maxWhat bounds a command in a record, in bytes.
const maxWhat = 1000

// CommandLine is argv as a person reads it, cut where it is long.
func CommandLine(argv []string) string {
	line := strings.Join(argv, " ")
	if len(line) <= maxWhat {
		return strings.ToValidUTF8(line, "\uFFFD")
	}
	end := maxWhat
	for end > maxWhat-utf8.UTFMax && !utf8.RuneStart(line[end]) {
		end--
	}
	return strings.ToValidUTF8(line[:end], "\uFFFD") + "…"
}

// Pack makes label, parent and cause of c one line. JSON would take longer to read than all else about a listing's row.
func (c Record) Pack() string {
	return strings.Join([]string{c.Label, c.Parent, c.Cause.By, c.Cause.Turn, strconv.Quote(c.Cause.What)}, "\t")
}

// Unpack fills in what Pack has made line of, and reports whether it could.
func (c *Record) Unpack(line string) bool {
	word := strings.Split(line, "\t")
	if len(word) != 5 {
		return false
	}
	what, err := strconv.Unquote(word[4])
	c.Label, c.Parent, c.Cause = word[0], word[1], Cause{By: word[2], Turn: word[3], What: what}
	return err == nil
}
