package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"

	"noid/internal/vmm/drivers"
)

// bash is an interactive bash that knows nothing but noid's completion.
type bash struct {
	*testing.T
	tty *os.File
	mu  sync.Mutex
	out bytes.Buffer
}

// startBash starts one in a home of its own. Ctrl+T prints the line that is typed.
func startBash(t *testing.T) *bash {
	path, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "--norc", "--noprofile", "-i")
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "PS1=ready> ", "INPUTRC=/dev/null", "TERM=dumb", "HISTFILE=", "HOME="+cmd.Dir)
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 50, Cols: 200})
	if err != nil {
		t.Fatal(err)
	}
	b := &bash{T: t, tty: tty}
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
	b.send("source <(noid completion bash); bind -x '\"\\C-t\": printf \"<%s>\\n\" \"$READLINE_LINE\"'; echo \"$?\" loaded\n")
	b.await("\n0 loaded")
	return b
}

func (b *bash) send(keys string) {
	b.Helper()
	if _, err := b.tty.WriteString(keys); err != nil {
		b.Fatal(err)
	}
}

// await waits until bash has printed text, and returns all that it has printed since the last call.
func (b *bash) await(text string) string {
	b.Helper()
	for start := time.Now(); time.Since(start) < time.Minute; time.Sleep(5 * time.Millisecond) {
		b.mu.Lock()
		got := b.out.String()
		if strings.Contains(got, text) {
			b.out.Reset()
			b.mu.Unlock()
			return got
		}
		b.mu.Unlock()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.Fatalf("%q does not come; bash says %q", text, b.out.String())
	return ""
}

// typed is the line as it is after keys.
func (b *bash) typed(keys string) string {
	b.Helper()
	b.send("\x05\x15" + keys + "\x14")
	got := b.await(">\r\n")
	return got[strings.LastIndex(got, "<")+1 : strings.LastIndex(got, ">\r\n")]
}

// TestBashCompletion types at a bash without the package bash-completion.
func TestBashCompletion(t *testing.T) {
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
	noid("create", "dev-box")
	noid("create", "gone")
	id := noid("checkpoint", "dev-box", "--label", "before-upgrade")
	noid("checkpoint", "gone", "--label", "it's gone")
	noid("destroy", "gone")
	noid("checkpoint", "dev-box", "--label", "two words")

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
