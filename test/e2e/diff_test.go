package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// edits is what a user does in a guest between two checkpoints. The last one puts a file's time back.
const edits = `
cd /root; mv dir dir2; echo more >>text; rm link; chmod 600 /etc/passwd; echo new >new; touch touched; mkdir -p /var/log/x
touch -r secret /tmp/ref; echo two >secret; touch -r /tmp/ref secret; rm /tmp/ref; echo x >"odd
name"; rm -r gone; mv one two
`

// differs is what diff says of edits, by path.
var differs = map[string]string{
	"/etc/passwd": "changed mode", "/root/dir2": "renamed from /root/dir", "/root/link": "removed", "/root/new": "added", "/root/text": "changed time,content",
	"/root/touched": "changed time", "/root/secret": "changed content", "/root/odd\nname": "added", "/root/gone": "removed", "/root/gone/f": "removed",
	"/root/two": "renamed from /root/one",
}

// differences is what diff says of args, by path.
func (n noid) differences(args ...string) map[string]string {
	n.t.Helper()
	var d struct {
		Changes []struct {
			Kind, Path, Was string
			What            []string
		}
		Cut bool
	}
	if err := json.Unmarshal([]byte(n.want(0, append([]string{"diff", "--json"}, args...)...)), &d); err != nil || d.Cut {
		n.t.Fatal(err, d.Cut)
	}
	found := map[string]string{}
	for _, c := range d.Changes {
		what := c.Kind
		if c.Was != "" {
			what += " from " + c.Was
		}
		if len(c.What) > 0 {
			what += " " + strings.Join(c.What, ",")
		}
		found[c.Path] = what
	}
	return found
}

// has insists on what diff says of paths below /root and of /etc/passwd: a guest's own programs may write elsewhere.
func (n noid) has(what string, want, got map[string]string) {
	n.t.Helper()
	for path, change := range got {
		if want[path] == "" && (strings.HasPrefix(path, "/root") || strings.HasPrefix(path, "/var/log")) {
			n.t.Errorf("%s: %q: %s", what, path, change)
		}
	}
	for path, change := range want {
		if change == "changed time,content" { // what has another size need not say its time
			if got[path] == "changed content" {
				continue
			}
		}
		if got[path] != change {
			n.t.Errorf("%s: %q: %q, not %q", what, path, got[path], change)
		}
	}
}

// TestDiff compares moments of a VM of a root file system, and of one of an image: alike, whichever way it finds out.
func TestDiff(t *testing.T) {
	t.Parallel() // its guests boot, mostly
	n := setup(t)
	image := "dir:" + tree(t)
	n.want(0, "image", "import", image, "app")
	n.want(0, "create", "r", "--wait")
	n.want(0, "create", "i", "--image", "app", "--wait")
	for _, name := range []string{"r", "i"} {
		n.want(0, "exec", name, "--", "sh", "-c", `cd /root; mkdir -p dir/sub gone; echo f >dir/sub/f; echo g >gone/f; echo line >text; ln -s text link;
			echo one >secret; echo t >touched; echo unique >one; sleep 1`)
		n.want(0, "checkpoint", name, "--label", "before")
		n.want(0, "exec", name, "--", "sh", "-c", edits)
		n.has(name+" as it runs", differs, n.differences(name))
		n.want(0, "checkpoint", name, "--label", "after")
		n.has(name+", two checkpoints", differs, n.differences(name+"@before", name+"@after"))
		n.has(name+", some paths", map[string]string{"/etc/passwd": "changed mode"}, n.differences(name+"@before", name+"@after", "--", "/etc"))
		if got := n.differences(name+"@after", name+"@after"); len(got) > 0 {
			t.Errorf("%s: a moment differs from itself: %v", name, got)
		}
		n.want(1, "diff", "--exit-code", name+"@before", name+"@after")
		patch := n.want(0, "diff", "-p", name+"@before", name+"@after", "--", "/root/text")
		if !strings.Contains(patch, "--- a/root/text\n+++ b/root/text\n@@ -1 +1,2 @@\n line\n+more\n") {
			t.Errorf("%s: -p: %s", name, patch)
		}
		if names := strings.Split(n.want(0, "diff", "--name-only", name+"@before", name), "\n"); !slices.Contains(names, `/root/odd\nname`) {
			t.Errorf("%s: --name-only: %q", name, names)
		}
		if all := n.differences("--all", name+"@before", name+"@after"); all["/var/log/x"] != "added" {
			t.Errorf("%s: --all: %v", name, all)
		}
	}
	fromImage := n.differences("app", "i")
	if fromImage["/root/new"] != "added" || !strings.Contains(fromImage["/etc/passwd"], "mode") || fromImage["/bin/busybox"] != "" {
		t.Errorf("from the image: %v", fromImage)
	}
	n.want(0, "stop", "i")
	n.has("one that does not run", differs, n.differences("i@before", "i"))
	n.only("diffs", "r", "i")
	n.want(5, "diff", "app", "r")
	n.want(3, "diff", "none", "r")
	n.want(3, "diff", "r@none", "r")
	n.want(2, "diff", "r@before")
}

// TestDiffMore compares processes and packages, of which a guest of busybox has the files that their managers write.
func TestDiffMore(t *testing.T) {
	t.Parallel() // its guests boot, mostly
	n := setup(t)
	n.want(0, "create", "a", "--wait")
	n.want(0, "exec", "-d", "a", "--", "sleep", "11111")
	n.want(0, "exec", "a", "--", "sh", "-c", `mkdir -p /lib/apk/db /usr/lib/node_modules/@of/npm /usr/lib/python3/site-packages/flask-1.0.dist-info
		printf 'P:musl\nV:1\n\nP:zlib\nV:1\n\n' >/lib/apk/db/installed; echo '{"name": "@of/npm", "version": "1.0.0"}' >/usr/lib/node_modules/@of/npm/package.json`)
	n.want(0, "checkpoint", "a", "--label", "one")
	n.want(0, "exec", "a", "--", "sh", "-c", "kill $(pidof sleep)")
	n.want(0, "exec", "-d", "a", "--", "sleep", "12321")
	n.want(0, "exec", "a", "--", "sh", "-c", `mkdir -p /var/lib/dpkg /usr/lib/python3/site-packages/requests-2.2.0.dist-info
		printf 'Package: curl\nStatus: install ok installed\nVersion: 1\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n' >/var/lib/dpkg/status
		printf 'P:musl\nV:2\n\n' >/lib/apk/db/installed; rm -r /usr/lib/python3/site-packages/flask-1.0.dist-info
		echo '{"name": "@of/npm", "version": "2.0.0"}' >/usr/lib/node_modules/@of/npm/package.json`)
	out := n.want(0, "diff", "--processes", "a@one", "a")
	var lines []string
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 3 && f[3] == "sleep" {
			lines = append(lines, f[0]+" "+f[4])
		}
	}
	slices.Sort(lines)
	if want := []string{"A 12321", "D 11111"}; !slices.Equal(lines, want) {
		t.Errorf("processes: %s", out)
	}
	n.equal("packages", "M apk  musl 1 => 2\nD apk  zlib 1\nA dpkg curl 1\nM npm  @of/npm 1.0.0 => 2.0.0\nD pip  flask 1.0\nA pip  requests 2.2.0\n",
		n.want(0, "diff", "--packages", "a@one", "a"))
	n.equal("none", "", n.want(0, "diff", "--packages", "--exit-code", "a@one", "a@one"))
}
