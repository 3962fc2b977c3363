package e2e

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"noid/internal/image/imagetest"
)

// TestQuickStartReadme runs the quick start of README.md as it is written: each line "$ noid ..." of a block "console",
// in order, by a shell, in an empty directory and a home of its own. What a command prints on stdout and stderr must be
// what README shows below it, with these exceptions:
//
//   - ids, process ids, times, the downtime and the guest's kernel version differ, and column widths follow (variable);
//   - where there is no KVM, noid says so on stderr (notice);
//   - "noid setup" gets no kernel: the tests have theirs (see scripts/guest-env.sh);
//   - a registry of the test's stands for Docker Hub; all its images are the tests' root file system;
//   - exec waits longer for the guest than it would by itself, as all tests here do;
//   - "make build" is not run: it made the noid that is tested.
//
// The lines of a block "console interactive" are run on a pseudo-terminal and get the keys of interactive.
func TestQuickStartReadme(t *testing.T) {
	t.Parallel()
	n := setup(t)
	registry := imagetest.Serve(t) // for Docker Hub, which the test cannot count on
	image := imagetest.Image(t, archive(t, tree(t)))
	registry.Push(t, "library/busybox", image)
	debian, err := mutate.Config(image, v1.Config{Cmd: []string{"/bin/sh"}}) // whose user is root
	if err != nil {
		t.Fatal(err)
	}
	registry.Push(t, "library/debian:stable-slim", debian)
	n.want(0, "config", "set", "registry_mirror", "http://"+registry.Host)
	n.want(0, "config", "unset", "rootfs")
	q := quickStart{noid: n, dir: t.TempDir()}
	if err := os.MkdirAll(filepath.Join(q.dir, "project"), 0o700); err != nil {
		t.Fatal(err)
	}
	steps := readme(t)
	if len(steps) < 15 {
		t.Fatalf("only %d commands found in README.md", len(steps))
	}
	for _, s := range steps {
		if s.interactive {
			q.onTerminal(s.command)
			continue
		}
		q.compare(s)
	}
}

// archive is a tar of the directory dir.
func archive(t *testing.T, dir string) []byte {
	t.Helper()
	data, err := exec.Command("tar", "-C", dir, "--numeric-owner", "-c", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// A step is one command of the quick start and what README shows below it.
type step struct {
	command, output string
	interactive     bool
}

// readme returns the steps of README's quick start that run noid.
func readme(t *testing.T) (steps []step) {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Quick start\n")
	section, _, _ = strings.Cut(section, "\n## ")
	block := ""
	for line := range strings.Lines(section) {
		fence, isFence := strings.CutPrefix(line, "```")
		command, isCommand := strings.CutPrefix(line, "$ ")
		switch {
		case isFence:
			block = strings.TrimSpace(fence)
		case block == "":
		case isCommand:
			steps = append(steps, step{command: strings.TrimSuffix(command, "\n"), interactive: block == "console interactive"})
		default:
			steps[len(steps)-1].output += line
		}
	}
	return steps[1:] // the first one builds
}

// A quickStart runs commands in dir.
type quickStart struct {
	noid
	dir string
	ids []string // README's checkpoint id and this run's, in pairs, for strings.NewReplacer
}

// shell returns a shell that runs command with the noid under test.
func (q *quickStart) shell(ctx context.Context, command string) *exec.Cmd {
	cmd := q.cmd(ctx, "version") // for its environment
	shim := `noid() { case $1 in exec) shift; command noid exec --wait-timeout ` + bootLimit.String() + ` "$@" ;; *) command noid "$@" ;; esac; }
`
	cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", shim + strings.NewReplacer(q.ids...).Replace(command)}
	cmd.Env = append(cmd.Env, "PATH="+filepath.Dir(q.bin)+":"+os.Getenv("PATH"), "TERM=vt100")
	cmd.Dir = q.dir
	return cmd
}

// notice is what noid says where it emulates.
var notice = regexp.MustCompile(`(?m)^noid: no usable KVM: .*\n`)

// variable is what may differ between README and a run, and the name that stands for it.
var variable = []struct {
	what *regexp.Regexp
	name string
}{
	{regexp.MustCompile(`\b[0-9a-f]{8}\b`), "ID"},
	{regexp.MustCompile(`\bprocess \d+`), "process PID"},
	{regexp.MustCompile(`\| (running|paused) +\| \d+ `), "| $1 | PID "},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`), "TIME"},
	{regexp.MustCompile(`(?m)^downtime \d+(\.\d+)? m?s$`), "downtime MS"},
	{regexp.MustCompile(`(?m)^Linux (\S+) .* (x86_64|aarch64) GNU/Linux$`), "Linux $1 KERNEL"},
	{regexp.MustCompile(`-{3,}`), "---"}, // a column's width
	{regexp.MustCompile(` {2,}`), " "},
}

// constant returns text without what may differ.
func constant(text string) string {
	for _, v := range variable {
		text = v.what.ReplaceAllString(text, v.name)
	}
	return text
}

var checkpointID = regexp.MustCompile(`(?m)^[0-9a-f]{8}$`)

// compare runs one command. What it prints must be what README shows.
func (q *quickStart) compare(s step) {
	q.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), bootLimit+time.Minute)
	defer cancel()
	out, err := q.shell(ctx, s.command).CombinedOutput()
	got := notice.ReplaceAllString(string(out), "")
	if err != nil {
		q.t.Fatalf("$ %s\n%s%v", s.command, got, err)
	}
	if diff := cmp.Diff(constant(s.output), constant(got)); diff != "" {
		q.t.Fatalf("$ %s\nREADME (-) and noid (+) differ:\n%s", s.command, diff)
	}
	if id := checkpointID.FindString(s.output); id != "" {
		q.ids = append(q.ids, id, checkpointID.FindString(got))
	}
}

// interactive says for each command on a terminal what is typed and what must show that it works. A part is typed when
// the part before it is on the screen.
var interactive = map[string][]struct{ shown, typed string }{
	"noid exec -it my-vm -- vi /etc/motd": {{"/etc/motd", "ihello from vi\x1b"}, {"hello from vi", ":wq\r"}},
	"noid shell my-vm":                    {{"# ", "cat /etc/motd; echo $((6*7))$(hostname)\r"}, {"hello from vi", ""}, {"42my-vm", "exit\r"}},
	"noid console my-vm":                  {{"Ctrl+Q detaches", "\r"}, {"# ", "echo $((6*7))$(hostname)\r"}, {"42my-vm", "\x11"}},
}

// onTerminal runs one command on a pseudo-terminal.
func (q *quickStart) onTerminal(command string) {
	q.t.Helper()
	keys, ok := interactive[command]
	if !ok {
		q.t.Fatalf("%s: the test does not know what to type", command)
	}
	ctx, cancel := context.WithTimeout(context.Background(), bootLimit)
	defer cancel()
	cmd := q.shell(ctx, command)
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 80})
	if err != nil {
		q.t.Fatal(err)
	}
	defer tty.Close()
	screen := reader{tty: tty}
	for _, k := range keys {
		if !screen.until(k.shown) {
			q.t.Fatalf("$ %s\n%q: never shows %q", command, screen.text.String(), k.shown)
		}
		if _, err := io.WriteString(tty, k.typed); err != nil {
			q.t.Fatal(err)
		}
	}
	go io.Copy(io.Discard, tty)
	if err := cmd.Wait(); err != nil {
		q.t.Fatalf("$ %s\n%s%v", command, screen.text.String(), err)
	}
}

// A reader collects what a terminal shows.
type reader struct {
	tty  io.Reader
	text bytes.Buffer
	seen int // up to here it was looked at
}

// until reads until shown is there, and returns false when the command ended before.
func (r *reader) until(shown string) bool {
	buf := make([]byte, 4096)
	for {
		if at := bytes.Index(r.text.Bytes()[r.seen:], []byte(shown)); at >= 0 {
			r.seen += at + len(shown)
			return true
		}
		n, err := r.tty.Read(buf)
		r.text.Write(buf[:n])
		if err != nil {
			return false
		}
	}
}
