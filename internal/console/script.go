package console

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

const (
	// lineMax bounds what is typed in one line: far below the 1023 bytes of busybox's line editor and the 4095 of the
	// kernel's canonical mode (N_TTY_BUF_SIZE).
	lineMax = 500
	// blockLines is how many payload lines go out before the guest must acknowledge them: 4 KB, which always fit the
	// tty's buffer. The kernel drops input when a slow reader lets about 64 KB pile up.
	blockLines = 8
)

// nonce marks one Exec's lines in the log. It is typed in two halves, so that an echo of the input is never taken for
// the shell's answer.
type nonce struct{ a, b string }

func newNonce() nonce {
	var raw [10]byte
	rand.Read(raw[:]) // never fails
	s := hex.EncodeToString(raw[:])
	return nonce{s[:10], s[10:]}
}

func (n nonce) String() string { return n.a + n.b }

// syncLine asks whatever shell reads the console to show the nonce. The leading space keeps it out of the history of a
// bash with HISTCONTROL=ignorespace.
func (n nonce) syncLine() string { return fmt.Sprintf(" echo %s''%s:s.\n", n.a, n.b) }

// bootLine starts the receiver in a subshell, apart from the variables and traps of the user's shell. It switches echo
// and output processing off, prints r when it is ready, and reads lines:
//
//	=TEXT      adds to the script
//	?          prints a, and moves what was added to a second string: one that grows by each line would be slow
//	.LENGTH    runs the script if it has that length, else prints x
//
// Any other line (of the next noid, when this one was killed) ends the receiver. Without stty it works too, with an
// echo that is ignored and CR LF in the output.
func (n nonce) bootLine() string {
	return fmt.Sprintf(` (_na=%s _nb=%s _np= _nq= _nm=c;_ns=$(stty -g 2>/dev/null);trap 'stty "$_ns" 2>/dev/null;exit 130' INT QUIT;`+
		`stty -echo -opost 2>/dev/null&&_nm=r;echo "$_na$_nb:r.";while IFS= read -r _nl;do case $_nl in `+
		`=*)_np=$_np${_nl#=};;\?)_nq=$_nq$_np _np=;echo "$_na$_nb:a.";;*)break;;esac;done;`+
		`_nq=$_nq$_np;case $_nl in .${#_nq})eval "$(printf %%b "$_nq")";;*)echo "$_na$_nb:x.";stty "$_ns" 2>/dev/null;;esac)`+"\n", n.a, n.b)
}

// script is what the receiver runs: command between the markers b (with the mode, r for raw or c for cooked) and e
// (with the exit status). A second report, f, follows in case a kernel message tore the first.
//
// Ctrl+C and Ctrl+\ reach the command and not the script, which ignores them: the end is always reported. A trap with
// an action would make busybox ash stop waiting, and report the end of a command that runs on. For the same reason a
// program replaces its subshell, which would die of a Ctrl+C that the program ignores.
func script(command string) string {
	return `trap '' INT QUIT
set +exu
unalias -a
printf %s "$_na$_nb:b$_nm."
(
trap - INT QUIT
set -- ` + command + `
case $(command -v "$1") in */*) exec "$@";; esac
"$@"
) </dev/null
_nr=$?
printf %s "$_na$_nb:e$_nr."
stty "$_ns" 2>/dev/null || stty sane 2>/dev/null
printf '\n%s\n' "$_na$_nb:f$_nr."
`
}

// command is argv as a line for sh, each argument taken literally. It has no NUL bytes.
func command(argv []string) string {
	return "'" + strings.NewReplacer("'", `'\''`, "\x00", "' '").Replace(strings.Join(argv, "\x00")) + "'"
}

// encode turns text into the lines to type for the receiver, in blocks of which each but the last ends in "?". All
// bytes but printable ASCII become escapes of printf's %b.
func encode(text string) (blocks []string) {
	var block, line strings.Builder
	lines, length := 0, 0
	flush := func() {
		fmt.Fprintf(&block, "=%s\n", line.String())
		length += line.Len()
		line.Reset()
		if lines++; lines%blockLines == 0 {
			blocks = append(blocks, block.String()+"?\n")
			block.Reset()
		}
	}
	for i := range len(text) {
		switch c := text[i]; {
		case c == '\\':
			line.WriteString(`\\`)
		case c == '\n':
			line.WriteString(`\n`)
		case c >= ' ' && c <= '~':
			line.WriteByte(c)
		default:
			fmt.Fprintf(&line, `\0%03o`, c)
		}
		if line.Len() > lineMax-8 {
			flush()
		}
	}
	if line.Len() > 0 {
		flush()
	}
	return append(blocks, block.String()+"."+strconv.Itoa(length)+"\n")
}
