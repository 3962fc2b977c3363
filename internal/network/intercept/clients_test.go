package intercept

import (
	"fmt"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"noid/internal/network/grant"
)

// guestEnv is what a guest's programs find in their environment.
func (w *world) guestEnv(dir string) []string {
	w.t.Helper()
	bundle := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(bundle, w.authority.CertPEM, 0o600); err != nil {
		w.t.Fatal(err)
	}
	env := []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH"), "TOKEN=" + w.grant.Placeholder, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.test", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.test"}
	for _, name := range []string{"SSL_CERT_FILE", "GIT_SSL_CAINFO", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"} {
		env = append(env, name+"="+bundle)
	}
	return env
}

// sh runs a guest's command and returns what it printed, in which there is no value.
func sh(t *testing.T, dir string, env []string, script string) string {
	t.Helper()
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir, cmd.Env = dir, env
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
	if strings.Contains(string(out), value) {
		t.Errorf("the guest sees the value: %s", out)
	}
	return string(out)
}

// TestCurl is accepted by curl, over both versions of HTTP, with a token in a header and in a password.
func TestCurl(t *testing.T) {
	w := newWorld(t, func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		fmt.Fprint(w, r.Header.Get("Authorization") == "Bearer "+value || password == value)
	}, nil)
	dir := t.TempDir()
	env := w.guestEnv(dir)
	for _, version := range []string{"--http1.1", "--http2"} {
		for _, auth := range []string{`-H "Authorization: Bearer $TOKEN"`, `-u "user:$TOKEN"`} {
			got := sh(t, dir, env, fmt.Sprintf("curl -sS %s %s --connect-to %s:%d:%s %s", version, auth, host, w.port, w.front, w.url("/")))
			if got != "true" {
				t.Errorf("%s %s: %s", version, auth, got)
			}
		}
	}
}

// TestClientsOfLanguages are accepted by Python and Node as they find their authorities.
func TestClientsOfLanguages(t *testing.T) {
	w := newWorld(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("Authorization") == "Bearer "+value)
	}, nil)
	dir := t.TempDir()
	env := append(w.guestEnv(dir), fmt.Sprintf("URL=https://localhost:%d/", w.port))
	w.grant.Hosts = []string{fmt.Sprintf("localhost:%d", w.port)} // which needs no resolver
	w.transport.TLSClientConfig.ServerName = host
	w.Set(w.authority, []grant.Grant{w.grant})
	for program, script := range map[string]string{
		"python3": `import os, urllib.request as u; print(u.urlopen(u.Request(os.environ["URL"], headers={"Authorization": "Bearer " + os.environ["TOKEN"]})).read().decode())`,
		"node":    `fetch(process.env.URL, {headers: {Authorization: "Bearer " + process.env.TOKEN}}).then(async r => console.log(await r.text()))`,
	} {
		path, err := exec.LookPath(program)
		if err != nil {
			t.Logf("NOT RUN: %s is not installed", program)
			continue
		}
		flag := map[string]string{"python3": "-c", "node": "-e"}[program]
		cmd := exec.Command(path, flag, script)
		cmd.Env = env
		if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "true" {
			t.Errorf("%s: %v: %s", program, err, out)
		}
	}
}

// TestGit clones from, and pushes to, a server that demands the token; the guest's git has the placeholder.
func TestGit(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, "srv")
	backend := &cgi.Handler{Path: gitBackend(t), Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=x"}}
	w := newWorld(t, func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != value {
			w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, r)
	}, nil)
	env := append(w.guestEnv(dir), fmt.Sprintf("RESOLVE=%s:%d:127.0.0.1", host, w.port))
	sh(t, dir, env, `
		git init -q --bare -b main srv/repo.git; git -C srv/repo.git config http.receivepack true
		git init -q -b main first; cd first
		head -c 3000000 /dev/urandom >large; git add large; git commit -qm one`)
	// What git is told on its command line: which address the name has, that it may ask nobody, and the password.
	git := `git -c http.curloptResolve="$RESOLVE" `
	url := strings.Replace(w.url("/repo.git"), "://", `://x-access-token:"$TOKEN"@`, 1)
	sh(t, dir, env, `cd first; `+git+`push -q `+url+` main`)
	sh(t, dir, env, git+`clone -q `+url+` second; cmp first/large second/large; ! grep -r `+value+` second first`)
	if uses := w.logged(); len(uses) < 3 {
		t.Errorf("logged %v", uses)
	}
	if out, err := exec.Command("git", "-c", "http.curloptResolve="+fmt.Sprintf("%s:%d:127.0.0.1", host, w.port), "-c", "http.sslCAInfo="+filepath.Join(dir, "ca.pem"),
		"clone", "-q", strings.Replace(w.url("/repo.git"), "://", "://x:wrong@", 1), filepath.Join(dir, "third")).CombinedOutput(); err == nil {
		t.Errorf("git clones without the token: %s", out)
	}
}

func gitBackend(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "git-http-backend")
}
