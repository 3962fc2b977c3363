package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// sshed is noid with the configuration of ssh for its VMs.
type sshed struct {
	noid
	config string
}

// withSSH makes a VM a and the configuration.
func withSSH(t *testing.T) sshed {
	for _, program := range []string{"ssh", "scp", "sftp", "rsync", "git", "ssh-agent", "ssh-add", "ssh-keygen", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("NOT RUN: %s is not installed", program)
		}
	}
	n := setup(t)
	n.want(0, "create", "a", "--wait")
	config := filepath.Join(t.TempDir(), "ssh_config")
	check(t, os.WriteFile(config, []byte(n.want(0, "ssh-config")), 0o600))
	return sshed{n, config}
}

// client is a program of OpenSSH's, or another one, with noid's environment.
func (s sshed) client(name string, args ...string) *exec.Cmd {
	if name == "ssh" || name == "scp" || name == "sftp" {
		args = append([]string{"-F", s.config}, args...)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), 3*time.Minute)
	s.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = 10 * time.Second
	cmd.Env = append(os.Environ(), "NOID_DRIVER=qemu", "GIT_SSH_COMMAND=ssh -F "+s.config, "RSYNC_RSH=ssh -F "+s.config,
		"GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
	return cmd
}

// does runs a client and insists on its exit code.
func (s sshed) does(code int, name string, args ...string) string {
	s.t.Helper()
	cmd := s.client(name, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code {
		s.t.Fatalf("%s %q: %v, not exit code %d\nstdout: %s\nstderr: %s", name, args, err, code, out.String(), errs.String())
	}
	return out.String()
}

// bring copies programs of this host with their libraries to the same places in the guest.
func (s sshed) bring(programs ...string) {
	s.t.Helper()
	args := []string{"-C", "/", "-ch"}
	for _, program := range programs {
		path, err := exec.LookPath(program)
		check(s.t, err)
		args = append(args, path[1:])
		libs, _ := exec.Command("ldd", path).Output() // a static one has none
		for word := range strings.FieldsSeq(string(libs)) {
			if strings.HasPrefix(word, "/") {
				args = append(args, word[1:])
			}
		}
	}
	archive, err := exec.Command("tar", args...).Output()
	check(s.t, err)
	cmd := s.cmd(s.t.Context(), "exec", "-i", "a", "tar", "-x", "-C", "/")
	cmd.Stdin = bytes.NewReader(archive)
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("%v: %s", err, out)
	}
}

// TestSSH has OpenSSH's programs, rsync and git work with a guest that has no network and no SSH server.
func TestSSH(t *testing.T) {
	s := withSSH(t)
	t.Chdir(t.TempDir())
	s.sh("echo alice:x:1000:1000::/home/alice:/bin/sh >>/etc/passwd; mkdir /home/alice; chown 1000:1000 /home/alice")
	for name, test := range map[string]func(sshed){"commands": sshCommands, "terminal": sshTerminal, "files": sshFiles, "user": sshUser,
		"rsync and git": sshPrograms, "ports": sshPorts, "sockets and agent": sshSockets, "many": sshMany} {
		t.Run(name, func(t *testing.T) { s.t = t; test(s) })
	}
}

func sshCommands(s sshed) {
	s.does(37, "ssh", "a.noid", "exit 37")
	s.does(255, "ssh", "a.noid", "kill -TERM $$") // as with any sshd
	s.does(255, "ssh", "nosuch@a.noid", "true")
	s.equal("in another case", "hi\n", s.does(0, "ssh", "A.noid", "echo hi; echo no >&2"))
	s.equal("a variable", "x  y", s.does(0, "ssh", "-o", `SetEnv V="x  y"`, "a.noid", `printf %s "$V"`))
	s.equal("a moment", "a\n", s.does(0, "ssh", "a+now.noid", "hostname; touch /root/lost"))
	s.equal("what was done there", "", s.sh("ls /root | grep lost; true"))
	// As Visual Studio Code does: a script on standard input, beside forwarding.
	cmd := s.client("ssh", "-T", "-D", freePort(s.t), "a.noid", "sh")
	cmd.Stdin = strings.NewReader("echo one\necho two\nexit 5\n")
	out, err := cmd.Output()
	if s.equal("a script", "one\ntwo\n", string(out)); cmd.ProcessState.ExitCode() != 5 {
		s.t.Error(err)
	}
	// The command of a client that is killed is hung up.
	cmd = s.client("ssh", "a.noid", "exec 2>/dev/null; trap 'echo hung >/tmp/hung; exit' HUP; echo ready; while :; do sleep 0.1; done")
	stdout, err := cmd.StdoutPipe()
	check(s.t, err)
	check(s.t, cmd.Start())
	await(s, stdout, "ready")
	check(s.t, cmd.Process.Signal(os.Interrupt))
	cmd.Wait()
	s.sh("until [ -e /tmp/hung ]; do sleep 0.1; done")
}

// await reads until what came ends in text.
func await(s sshed, r io.Reader, text string) string {
	s.t.Helper()
	var got []byte
	for b := make([]byte, 1); !strings.HasSuffix(string(got), text); got = append(got, b[0]) {
		if _, err := r.Read(b); err != nil {
			s.t.Fatalf("%v instead of %q, after %q", err, text, got)
		}
	}
	return string(got)
}

func sshTerminal(s sshed) {
	cmd := s.client("ssh", "-t", "a.noid")
	term, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 33, Cols: 99})
	check(s.t, err)
	defer term.Close()
	await(s, term, "# ")
	fmt.Fprint(term, "stty size; echo $TERM-$0; test -t 2 && : </dev/tty && echo is''atty\r")
	if out := await(s, term, "isatty"); !strings.Contains(out, "33 99") || !strings.Contains(out, os.Getenv("TERM")+"--sh") {
		s.t.Errorf("the terminal: %q", out)
	}
	check(s.t, pty.Setsize(term, &pty.Winsize{Rows: 44, Cols: 111}))
	fmt.Fprint(term, "until stty size | grep '44 111'; do sleep 0.1; done; echo re''sized\r")
	await(s, term, "resized")
	fmt.Fprint(term, "(trap 'echo caught; exit 9' INT; echo re''ady; while :; do sleep 0.1; done); echo code-$?\r")
	await(s, term, "ready")
	term.Write([]byte{3}) // Ctrl+C
	await(s, term, "code-9")
	fmt.Fprint(term, "exit 6\r")
	io.Copy(io.Discard, term) // until EIO
	if cmd.Wait(); cmd.ProcessState.ExitCode() != 6 {
		s.t.Errorf("the shell: %v", cmd.ProcessState)
	}
}

func sshFiles(s sshed) {
	content := make([]byte, 20<<20)
	rand.Read(content)
	check(s.t, os.MkdirAll("dir/below", 0o755))
	check(s.t, os.WriteFile("dir/below/big", content, 0o640))
	s.put("dir/with blank", "x")
	sum := fmt.Sprintf("%x", sha256.Sum256(content))
	s.does(0, "scp", "-q", "-r", "-p", "dir", "a.noid:/root/")
	s.equal("scp there", sum+"  /root/dir/below/big\n", s.sh("sha256sum /root/dir/below/big"))
	s.equal("modes", "640 x", s.sh("printf '%s ' $(stat -c %a /root/dir/below/big); cat '/root/dir/with blank'"))
	s.does(0, "scp", "-q", "a.noid:dir/below/big", "back") // from the home of root
	back, err := os.ReadFile("back")
	check(s.t, err)
	s.equal("scp back", sum, fmt.Sprintf("%x", sha256.Sum256(back)))
	s.put("batch", "cd dir\nrename below above\nln -s above link\nget 'with blank' got\nrm above/big\nrmdir above\nmkdir new\nput batch new/\nchmod 600 new/batch\nls -l new\n")
	s.does(0, "sftp", "-q", "-b", "batch", "a.noid")
	s.equal("sftp", "above 600", s.sh("cd /root/dir; printf '%s %s' $(readlink link) $(stat -c %a new/batch)"))
	if got, err := os.ReadFile("got"); err != nil || string(got) != "x" {
		s.t.Errorf("sftp get: %q, %v", got, err)
	}
}

// sshUser logs in as an ordinary user of the guest, who can do what that user can.
func sshUser(s sshed) {
	s.equal("who", "1000:1000:1000 /home/alice /home/alice\n", s.does(0, "ssh", "alice@a.noid", `echo "$(id -u):$(id -g):$(id -G) $PWD $HOME"`))
	s.put("mine", "x")
	s.does(0, "scp", "-q", "mine", "alice@a.noid:")
	s.equal("the owner of a file", "1000:1000\n", s.sh("stat -c %u:%g /home/alice/mine"))
	s.sh("chmod 700 /root; echo secret >/root/secret")
	s.does(1, "scp", "-q", "mine", "alice@a.noid:/root/mine")
	s.does(1, "scp", "-q", "alice@a.noid:/root/secret", "stolen")
	s.does(1, "ssh", "alice@a.noid", "cat /root/secret")
	cmd := s.client("ssh", "-tt", "alice@a.noid", `echo mine >"$(tty)"`) // the terminal is the user's
	if out, err := cmd.Output(); string(out) != "mine\r\n" {
		s.t.Errorf("%q, %v", out, err)
	}
}

func sshPrograms(s sshed) {
	s.bring("rsync", "git")
	s.sh("cd /usr/bin; ln -sf git git-upload-pack; ln -sf git git-receive-pack; [ -e /dev/null ]")
	check(s.t, os.MkdirAll("tree/a", 0o755))
	s.put("tree/a/f", strings.Repeat("line\n", 10000))
	s.does(0, "rsync", "-a", "tree/", "a.noid:/root/tree/")
	s.put("tree/a/f", strings.Repeat("line\n", 10000)+"end\n")
	if out := s.does(0, "rsync", "-av", "--checksum", "tree/", "a.noid:/root/tree/"); !strings.Contains(out, "a/f") {
		s.t.Errorf("rsync: %s", out)
	}
	s.does(0, "rsync", "-a", "a.noid:/root/tree/", "tree2/")
	s.does(0, "diff", "-r", "tree", "tree2")
	s.does(0, "git", "init", "-q", "-b", "main", "repo")
	s.put("repo/f", "one\n")
	s.does(0, "git", "-C", "repo", "add", "f")
	s.does(0, "git", "-C", "repo", "commit", "-q", "-m", "one")
	s.sh("git init -q --bare -b main /root/repo.git")
	s.does(0, "git", "-C", "repo", "push", "-q", "a.noid:/root/repo.git", "main")
	s.does(0, "git", "clone", "-q", "ssh://a.noid/root/repo.git", "clone")
	s.does(0, "diff", "repo/f", "clone/f")
}

// background runs a client until the test's end, and waits until it listens at the path or port.
func (s sshed) background(listens string, name string, args ...string) *exec.Cmd {
	s.t.Helper()
	cmd := s.client(name, args...)
	cmd.Stderr = os.Stderr
	check(s.t, cmd.Start())
	s.t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	network := "tcp"
	if strings.HasPrefix(listens, "/") {
		network = "unix"
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		c, err := net.Dial(network, listens)
		if err == nil {
			c.Close()
			return cmd
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s %q: %v", name, args, err)
		}
	}
}

// freePort is one that nobody listens at now.
func freePort(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	return l.Addr().String()
}

func sshPorts(s sshed) {
	s.sh("mkdir -p /srv/www; echo of the guest >/srv/www/f; httpd -p 127.0.0.1:8080 -h /srv/www")
	local, socks := freePort(s.t), freePort(s.t)
	s.background(local, "ssh", "-N", "-L", local+":localhost:8080", "-D", socks, "a.noid")
	s.equal("-L", "of the guest\n", s.does(0, "curl", "-sS", "http://"+local+"/f"))
	s.equal("-D", "of the guest\n", s.does(0, "curl", "-sS", "--socks5-hostname", socks, "http://localhost:8080/f"))
	s.does(97, "curl", "-sS", "--socks5-hostname", socks, "http://localhost:9/f") // nobody is there
	s.put("hello", "of the host\n")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(s.t, err)
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, "of the host\n")
			c.Close()
		}
	}()
	s.equal("-R", "of the host\n", s.does(0, "ssh", "-R", "127.0.0.1:7777:"+l.Addr().String(), "a.noid", "nc 127.0.0.1 7777"))
	cmd := s.client("ssh", "-v", "-o", "ExitOnForwardFailure=yes", "-R", "127.0.0.1:8080:"+l.Addr().String(), "a.noid", "true")
	if out, err := cmd.CombinedOutput(); err == nil {
		s.t.Errorf("-R of a port that is taken: %s", out)
	}
	cmd = s.client("ssh", "-W", "localhost:8080", "a.noid")
	cmd.Stdin = strings.NewReader("GET /f HTTP/1.0\r\n\r\n")
	if out, err := cmd.Output(); err != nil || !strings.HasSuffix(string(out), "of the guest\n") {
		s.t.Errorf("-W: %q, %v", out, err)
	}
}

// sshSockets leads from a socket here to one of the guest, and on to a server here: as a user, whose socket it is. The
// agent of this host answers in the guest.
func sshSockets(s sshed) {
	dir, err := os.MkdirTemp("", "noid") // a socket's path is short
	check(s.t, err)
	s.t.Cleanup(func() { os.RemoveAll(dir) })
	server := filepath.Join(dir, "server")
	l, err := net.Listen("unix", server)
	check(s.t, err)
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				text, _ := io.ReadAll(c) // the end of the input arrives
				fmt.Fprintf(c, "got %s", text)
				c.Close()
			}()
		}
	}()
	here := filepath.Join(dir, "here")
	s.background(here, "ssh", "-N", "-L", here+":/home/alice/s", "alice@a.noid")
	s.background(server, "ssh", "-N", "-R", "/home/alice/s:"+server, "alice@a.noid")
	s.sh("until [ -S /home/alice/s ]; do sleep 0.1; done")
	c, err := net.Dial("unix", here)
	check(s.t, err)
	fmt.Fprint(c, "hello")
	check(s.t, c.(*net.UnixConn).CloseWrite())
	text, err := io.ReadAll(c)
	check(s.t, err)
	s.equal("over both sockets", "got hello", string(text))
	s.equal("the socket", "1000 600\n", s.sh("stat -c '%u %a' /home/alice/s"))

	s.bring("ssh-add")
	s.does(0, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "the test's key", "-f", "key")
	agent := filepath.Join(dir, "agent")
	s.background(agent, "ssh-agent", "-D", "-a", agent)
	s.t.Setenv("SSH_AUTH_SOCK", agent)
	s.does(0, "ssh-add", "-q", "key")
	for _, who := range []string{"root", "alice"} {
		if out := s.does(0, "ssh", "-A", who+"@a.noid", "ssh-add -l; stat -c %U:%a $SSH_AUTH_SOCK"); !strings.Contains(out, "the test's key") || !strings.Contains(out, who+":600") {
			s.t.Errorf("the agent: %s", out)
		}
	}
	s.equal("sockets that are left", "", s.sh("ls /tmp | grep ssh-; true"))
}

func sshMany(s sshed) {
	dir, err := os.MkdirTemp("", "noid")
	check(s.t, err)
	s.t.Cleanup(func() { os.RemoveAll(dir) })
	master := filepath.Join(dir, "master")
	s.background(master, "ssh", "-N", "-M", "-S", master, "a.noid")
	outs := make(chan string)
	for i := range 8 { // half of them over one connection
		args := []string{"a.noid", fmt.Sprintf("seq 1 2000; exit %d", i)}
		if i%2 == 0 {
			args = append([]string{"-S", master}, args...)
		}
		cmd := s.client("ssh", args...)
		go func() {
			out, _ := cmd.Output()
			outs <- fmt.Sprintf("%d %d", cmd.ProcessState.ExitCode()-i, bytes.Count(out, []byte("\n")))
		}()
	}
	for range 8 {
		s.equal("one of many", "0 2000", <-outs)
	}
	s.does(0, "ssh", "-S", master, "-O", "exit", "a.noid")
}

// TestSSHStates looks at ssh to a VM that does not run, and at a connection whose VM is checkpointed, paused, restored
// and destroyed.
func TestSSHStates(t *testing.T) {
	t.Parallel()
	s := withSSH(t)
	refused := func(says string) {
		t.Helper()
		cmd := s.client("ssh", "a.noid", "true")
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), says) {
			t.Errorf("%v: %s, without %q", err, out, says)
		}
	}
	cmd := s.client("ssh", "a.noid", "echo ready; while read line; do echo got $line; done")
	in, err := cmd.StdinPipe()
	check(t, err)
	out, err := cmd.StdoutPipe()
	check(t, err)
	cmd.Stderr = os.Stderr
	check(t, cmd.Start())
	await(s, out, "ready\n")
	s.want(0, "checkpoint", "a", "--label", "then")
	fmt.Fprintln(in, "one")
	await(s, out, "got one\n")
	s.want(0, "pause", "a")
	fmt.Fprintln(in, "two")
	refused("'noid resume a'")
	s.want(0, "resume", "a")
	await(s, out, "got two\n")
	s.equal("a clone's ssh", "c\n", func() string {
		s.want(0, "restore", "a", "then", "--as", "c")
		return s.does(0, "ssh", "c.noid", "hostname")
	}())
	s.want(0, "restore", "a", "then") // the guest goes back to before what this ssh has sent
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != 255 {
		t.Errorf("ssh to a guest that went back: %v", err)
	}
	s.equal("ssh after that", "a\n", s.does(0, "ssh", "a.noid", "hostname"))
	s.sh("rm /run/noid/noid-sshd-*")
	s.equal("ssh without the program there", "a\n", s.does(0, "ssh", "a.noid", "hostname"))
	s.want(0, "stop", "a")
	refused("'noid start a'")
	s.want(0, "start", "a")
	cmd = s.client("ssh", "a.noid", "echo ready; sleep 1000")
	out, err = cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	await(s, out, "ready\n")
	s.want(0, "destroy", "--checkpoints", "a")
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != 255 {
		t.Errorf("ssh to a VM that was destroyed: %v", err)
	}
	refused(`no vm "a"`)
}

// TestSSHAsUser is TestSSH by a user who is not root, if this one is.
func TestSSHAsUser(t *testing.T) {
	t.Parallel() // its guests boot, mostly
	setup(t)
	if os.Geteuid() != 0 {
		return // TestSSH is that
	}
	testAsUser(t, "^TestSSH$")
}
