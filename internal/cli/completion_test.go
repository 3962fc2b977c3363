package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"

	"noid/internal/vmm/drivers"
)

// shell is an interactive shell that knows nothing but noid's completion.
type shell struct {
	*testing.T
	tty *os.File
	mu  sync.Mutex
	out bytes.Buffer
}

// startBash starts a bash in a home of its own. Ctrl+T prints the line that is typed.
func startBash(t *testing.T) *shell {
	b := startShell(t, "bash", "--norc", "--noprofile", "-i")
	b.send("source <(noid completion bash); bind -x '\"\\C-t\": printf \"<%s>\\n\" \"$READLINE_LINE\"'; echo \"$?\" loaded\n")
	b.await("\n0 loaded")
	return b
}

// startZsh starts a zsh in the same way.
func startZsh(t *testing.T) *shell {
	z := startShell(t, "zsh", "-f", "-i")
	z.send("unsetopt PROMPT_SP LIST_BEEP; autoload -Uz compinit; compinit -D -u; source <(noid completion zsh); bindkey -e; " +
		"line() { zle -I; print -r -- \"<$BUFFER>\" }; zle -N line; bindkey '^T' line; echo $? loaded\n")
	z.await("\n0 loaded")
	return z
}

func startShell(t *testing.T, name string, args ...string) *shell {
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip("NOT RUN: ", err)
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "PS1=ready> ", "INPUTRC=/dev/null", "TERM=dumb", "HISTFILE=", "HOME="+cmd.Dir)
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 50, Cols: 200})
	if err != nil {
		t.Fatal(err)
	}
	b := &shell{T: t, tty: tty}
	read := make(chan struct{})
	go func() {
		defer close(read)
		buf := make([]byte, 4096)
		for {
			n, err := tty.Read(buf)
			b.mu.Lock()
			b.out.Write(buf[:n])
			b.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		tty.Close()
		<-read
	})
	b.await("ready> ")
	return b
}

func (b *shell) send(keys string) {
	b.Helper()
	if _, err := b.tty.WriteString(keys); err != nil {
		b.Fatal(err)
	}
}

// await waits until the shell has printed texts, one after the other, and returns all that it has printed since the last
// call.
func (b *shell) await(texts ...string) string {
	b.Helper()
	said := func() (got string, all bool) {
		b.mu.Lock()
		defer b.mu.Unlock()
		got = b.out.String()
		rest := got
		for _, text := range texts {
			if _, rest, all = strings.Cut(rest, text); !all {
				return got, false
			}
		}
		b.out.Reset()
		return got, true
	}
	for start := time.Now(); time.Since(start) < time.Minute; time.Sleep(5 * time.Millisecond) {
		if got, all := said(); all {
			return got
		}
	}
	got, _ := said()
	b.Fatalf("%q does not come; the shell says %q", texts, got)
	return ""
}

// typed is the line as it is after keys. It waits for the prompt after it: until then, keys may be the terminal's and not
// the shell's.
func (b *shell) typed(keys string) string {
	b.Helper()
	b.send("\x05\x15" + keys + "\x14")
	got := b.await(">\r\n", "ready> ")
	got = got[:strings.LastIndex(got, ">\r\n")]
	return got[strings.LastIndex(got, "<")+1:]
}

// completed is a home with a VM, dev-box, a destroyed one, gone, and checkpoints of them; it returns the first's id.
func completed(t *testing.T) (id string) {
	config := scriptConfig(t)
	home := filepath.Join(t.TempDir(), "home")
	t.Setenv("NOID_HOME", home)
	noid := func(args ...string) string {
		out, err := exec.Command("noid", args...).Output()
		if err != nil {
			t.Fatalf("noid %v: %v", args, err)
		}
		return strings.TrimSpace(string(out))
	}
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, "config.toml"), config, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := endVMMs(home); err != nil {
			t.Error(err)
		}
	})
	noid("kernel", "import", noid("config", "get", "kernel"), "--name", "mine")
	noid("create", "dev-box")
	noid("create", "gone")
	id = noid("checkpoint", "dev-box", "--label", "before-upgrade")
	noid("checkpoint", "gone", "--label", "it's gone")
	noid("destroy", "gone")
	noid("checkpoint", "dev-box", "--label", "two words")
	return id
}

// TestBashCompletion types at a bash without the package bash-completion.
func TestBashCompletion(t *testing.T) {
	id := completed(t)
	b, driver := startBash(t), drivers.Names()[0]
	for keys, want := range map[string]string{
		"noid start dzz\x1b[D\x1b[D\t":                 "noid start dev-boxzz", // in the middle of a word
		"noid resto\t":                                 "noid restore ",
		"noid start d\t":                               "noid start dev-box ",
		"noid start g\t":                               "noid start g", // it is destroyed
		"noid forget g\t":                              "noid forget gone ",
		"noid restore d\tbef\t":                        "noid restore dev-box before-upgrade ",
		"noid restore d\t" + id[:4] + "\t":             "noid restore dev-box " + id + " ",
		"noid verify dev-box@bef\t":                    "noid verify dev-box@before-upgrade ",
		"noid fork dev-box@" + id[:4] + "\t":           "noid fork dev-box@" + id + " ",
		"noid restore dev-box tw\t":                    "noid restore dev-box tw", // a shell would have to quote it
		"noid config set sto\tb\t":                     "noid config set storage btrfs ",
		"noid create --driver=" + driver[:3] + "\t":    "noid create --driver=" + driver + " ",
		"noid create --driver " + driver[:3] + "\t":    "noid create --driver " + driver + " ",
		"noid create d\t":                              "noid create d", // a new name
		"noid cp x d\t":                                "noid cp x dev-box:",
		"noid destroy dev-box d\t":                     "noid destroy dev-box d",
		"noid help exit\t":                             "noid help exit-codes ",
		"noid completion z\t":                          "noid completion zsh ",
		"noid logs $(touch made) d\t":                  "noid logs $(touch made) d",
		"noid list | noid stop --f\td\t":               "noid list | noid stop --force dev-box ",
		"noid restore d bef\x1b[D\x1b[D\x1b[D\x1b[D\t": "noid restore dev-box bef", // in the middle of the line
	} {
		if got := b.typed(keys); got != want {
			t.Errorf("%q: %q, want %q", keys, got, want)
		}
	}
	// A list says what each is.
	b.send("\x15noid restore dev-box \t\t")
	if got := b.await("before-upgrade  ("); !strings.Contains(got, id) || !strings.Contains(got, " two words)") {
		t.Errorf("the list is %q", got)
	}
	// Nothing was made: no home that was not there, and nothing that the line would make.
	b.send("\x15export NOID_HOME=$PWD/none\r")
	if got := b.typed("noid start d\t"); got != "noid start d" {
		t.Errorf("in no home: %q", got)
	}
	b.send("\x15echo \"files:\" *\r")
	b.await("\nfiles: *\r\n")
}

// TestZshCompletion types at a zsh that has its own completion system alone.
func TestZshCompletion(t *testing.T) {
	id := completed(t)
	z, driver := startZsh(t), drivers.Names()[0]
	for keys, want := range map[string]string{
		"noid resto\t":                              "noid restore ",
		"noid start d\t":                            "noid start dev-box ",
		"noid start g\t":                            "noid start g",
		"noid forget g\t":                           "noid forget gone ",
		"noid restore d\tbef\t":                     "noid restore dev-box before-upgrade ",
		"noid restore d\t" + id[:4] + "\t":          "noid restore dev-box " + id + " ",
		"noid fork dev-box@" + id[:4] + "\t":        "noid fork dev-box@" + id + " ",
		"noid config set sto\tb\t":                  "noid config set storage btrfs ",
		"noid cp x d\t":                             "noid cp x dev-box:",
		"noid kernel rm m\t":                        "noid kernel rm mine ",
		"noid kernel import h\t":                    "noid kernel import host ",
		"noid create --driver=" + driver[:3] + "\t": "noid create --driver=" + driver + " ",
		"noid logs $(touch made) d\t":               "noid logs $(touch made) d",
		"noid help exit\t":                          "noid help exit-codes ",
		"noid list | noid stop --f\td\t":            "noid list | noid stop --force dev-box ",
	} {
		if got := z.typed(keys); got != want {
			t.Errorf("%q: %q, want %q", keys, got, want)
		}
	}
	z.send("\x05\x15echo \"files:\" *(N)\r")
	z.await("\nfiles:\r\n")
}

// TestFishCompletion asks a fish that finds noid's script where a user puts it.
func TestFishCompletion(t *testing.T) {
	fish, err := exec.LookPath("fish")
	if err != nil {
		t.Skip("NOT RUN: ", err)
	}
	id, driver := completed(t), drivers.Names()[0]
	home := t.TempDir()
	script, err := exec.Command("noid", "completion", "fish").Output()
	if err == nil {
		err = os.MkdirAll(filepath.Join(home, ".config/fish/completions"), 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(home, ".config/fish/completions/noid.fish"), script, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string][]string{
		"noid resto":                         {"restore"},
		"noid start d":                       {"dev-box"},
		"noid start g":                       nil,
		"noid forget g":                      {"gone"},
		"noid restore dev-box bef":           {"before-upgrade"},
		"noid restore dev-box " + id:         {id},
		"noid fork dev-box@" + id[:4]:        {"dev-box@" + id},
		"noid config set storage b":          {"btrfs"},
		"noid kernel rm m":                   {"mine"},
		"noid create --kernel mi":            {"mine"},
		"noid logs (touch made) dev-b":       nil,
		"noid create --driver=" + driver[:3]: {"--driver=" + driver},
		"noid destroy gone dev-b":            {"dev-box"},
	} {
		cmd := exec.Command(fish, "-c", "complete -C "+strconv.Quote(line))
		cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME=", "TERM=dumb")
		cmd.Dir = home
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for found := range strings.Lines(string(out)) {
			word, _, _ := strings.Cut(strings.TrimSpace(found), "\t")
			got = append(got, word)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
	if _, err := os.Stat(filepath.Join(home, "made")); err == nil {
		t.Error("completing ran what the line would run")
	}
}
