package e2e

import (
	"strings"
	"syscall"
	"testing"
)

// reach is what a server says that the guest of name reaches by a name and a port.
func (n noid) reach(name, host, port string) string {
	out, _, _ := n.run("exec", name, "--", "sh", "-c", `printf 'GET /file HTTP/1.0\r\n\r\n' | nc -w 20 "$0" "$1"`, host, port)
	_, body, _ := strings.Cut(out, "\r\n\r\n")
	return body
}

// TestLab has guests on a network find each other by name, and nobody else; clones too, and what is put back; while
// they join, leave, are renamed, and lose their network helpers.
func TestLab(t *testing.T) {
	t.Parallel()
	n := setup(t)
	n.want(0, "network", "create", "lab")
	n.want(0, "create", "db", "--net", "none", "--network", "lab", "--wait")
	n.want(0, "create", "web", "--net", "none", "--network", "lab", "--wait")
	n.want(0, "create", "outside", "--wait")
	n.want(0, "exec", "db", "--", "sh", "-c", "mkdir /www; hostname >/www/file; httpd -p 8000 -h /www")
	n.equal("by its name", "db\n", n.reach("web", "db", "8000"))
	n.equal("and its network's", "db\n", n.reach("web", "db.lab", "8000"))
	n.equal("no server is there", "", n.reach("web", "db", "8001"))
	n.equal("a vm that is not on the network", "", n.reach("outside", "10.63.1.1", "8000"))
	n.equal("its name", "", n.reach("outside", "db", "8000"))
	n.want(0, "exec", "web", "--", "ping", "-c", "1", "-W", "20", "db")

	n.want(0, "network", "connect", "lab", "outside")
	n.equal("connected while it runs", "db\n", n.reach("outside", "db", "8000"))
	n.want(0, "network", "disconnect", "lab", "outside")
	n.equal("disconnected", "", n.reach("outside", "10.63.1.1", "8000"))
	n.want(4, "network", "rm", "lab")

	// The clone goes on in the middle of what its source did, under its own name.
	n.want(0, "fork", "db", "--as", "db2")
	n.want(0, "exec", "db2", "--", "sh", "-c", "echo the clone >/www/file")
	n.equal("a clone", "the clone\n", n.reach("web", "db2", "8000"))
	n.equal("its source", "db\n", n.reach("db2", "db", "8000"))
	n.want(0, "checkpoint", "db", "--label", "old")
	n.want(0, "exec", "db", "--", "sh", "-c", "echo changed >/www/file")
	n.want(0, "restore", "--no-backup", "db", "old")
	n.equal("what was put back", "db\n", n.reach("web", "db", "8000"))
	n.want(0, "rename", "db", "data")
	n.until("it has its new name", func() bool { return n.reach("web", "data", "8000") == "db\n" })
	n.equal("and not its old one", "", n.reach("web", "db", "8000"))

	for _, name := range []string{"data", "web"} {
		check(t, syscall.Kill(n.networkHelper(name), syscall.SIGKILL))
		n.until("it is back after its helper was killed", func() bool { return n.reach("web", "data", "8000") == "db\n" })
	}

	// A clone joins a network that its source is not on: the source is not found there.
	n.want(0, "network", "create", "apart")
	n.want(0, "network", "connect", "apart", "outside")
	n.want(0, "fork", "data", "--as", "db3", "--network", "apart")
	n.want(0, "restore", "data", "old", "--as", "db4", "--network", "apart")
	n.equal("a fork there", "db\n", n.reach("outside", "db3.apart", "8000"))
	n.equal("a restored one there", "db\n", n.reach("outside", "db4", "8000"))
	n.equal("each other", "db\n", n.reach("db3", "db4.apart", "8000"))
	n.equal("on the source's network", "db\n", n.reach("web", "db4.lab", "8000"))
	n.equal("the source, from there", "", n.reach("outside", "data", "8000"))
	n.want(0, "destroy", "db3", "db4", "outside")
	n.want(0, "network", "rm", "apart")

	n.want(0, "destroy", "data")
	n.equal("it was destroyed", "", n.reach("web", "data", "8000"))
	n.equal("its clone", "the clone\n", n.reach("web", "db2", "8000"))
	n.want(0, "destroy", "web", "db2")
	n.want(0, "network", "rm", "lab")
}
