package e2e

import (
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// clients are programs of a guest, each with what it does at https://$HOST with the token that it takes for $TOKEN, if
// there is one. Each prints word.
var clients = []struct{ name, script string }{
	{"curl", `curl -sS --fail -H "Authorization: Bearer $TOKEN" https://$HOST/hello`},
	{"git", `git clone -q https://x:$TOKEN@$HOST/repo.git r && tail -n 1 r/file | sed 's/^100000$/from the registry/'`},
	{"apt", `echo "deb [trusted=yes] https://$HOST/debian test main" >/etc/apt/sources.list; rm -f /etc/apt/sources.list.d/*
		echo "machine $HOST login x password $TOKEN" >/etc/apt/auth.conf
		apt-get update && apt-get install -y -o Dpkg::Options::=--force-unsafe-io noidtest && cat /usr/share/noidtest/noidtest-word
		dpkg -P --force-unsafe-io noidtest noidtest-word`},
	{"python", `python3 -c 'import os, requests, urllib.request as u
url, has = "https://" + os.environ["HOST"] + "/hello", {"Authorization": "Bearer " + os.environ["TOKEN"]}
words = {requests.get(url, headers=has).text, u.urlopen(u.Request(url, headers=has)).read().decode()}
print(*words)'`},
	{"pip", `pip install -q --break-system-packages --root-user-action=ignore --no-cache-dir --target t --index-url https://x:$TOKEN@$HOST/simple noidtest
		PYTHONPATH=t python3 -c 'import noidtest; print(noidtest.word)'`},
	{"node", `node -e '
const url = "https://" + process.env.HOST + "/hello", headers = {authorization: "Bearer " + process.env.TOKEN};
(async () => {
  const one = await (await fetch(url, {headers})).text();
  require("https").get(url, {headers}, r => r.on("data", two => console.log(String(new Set([one, String(two)]).size === 1 ? one : "two answers"))));
})()'`},
	{"npm", `echo "//$HOST/npm/:_authToken=\${TOKEN}" >.npmrc; echo '{}' >package.json
		npm install --no-audit --no-fund --no-update-notifier --registry https://$HOST/npm/ noidtest; node -e 'console.log(require("noidtest"))'`},
	{"go", `export GOPROXY=https://x:$TOKEN@$HOST/go GOSUMDB=off GOTOOLCHAIN=local GOMODCACHE=$PWD/mod GOFLAGS=-modcacherw
		go mod init m; go get example.test/noidtest; cat mod/example.test/noidtest@v1.0.0/word.go`},
	{"cargo", `export CARGO_HOME=$PWD/home CARGO_REGISTRIES_TEST_INDEX=sparse+https://$HOST/cargo/ CARGO_REGISTRIES_TEST_TOKEN=$TOKEN CARGO_REGISTRY_GLOBAL_CREDENTIAL_PROVIDERS=cargo:token
		cargo init -q --lib --vcs none --name m; echo 'noidtest = { version = "1", registry = "test" }' >>Cargo.toml
		cargo fetch -q && cat home/registry/src/*/noidtest-1.0.0/src/lib.rs`},
	{"java", `java -XX:TieredStopAtLevel=1 -cp /root Fetch https://$HOST/hello "Bearer $TOKEN"`},
}

// TestClients runs TestInsideClients where the internet is this test.
func TestClients(t *testing.T) {
	image := os.Getenv("NOID_TEST_CLIENTS")
	if image == "" {
		t.Skip("NOT RUN: 'make torture' makes the image with clients")
	}
	inInternet(t, "TestInsideClients", image+".pem")
}

// TestInsideClients has the clients of an image get something from a host that noid leaves alone, whose certificate the
// image trusts, and from one that demands a token which the guest does not have. Then the token is nowhere in the guest.
func TestInsideClients(t *testing.T) {
	becomeInternet(t)
	l, err := net.Listen("tcp", plainAt+":80")
	check(t, err)
	plain := registries(t, false)
	serve(t, l, plain)
	serveTLS(t, "plain.test", plainAt, plain)
	serveTLS(t, "secure.test", secureAt, withToken(registries(t, true)))
	n := setup(t)
	program := fetchProgram(t)
	n.setToken()
	n.want(0, "image", "import", "tar:"+os.Getenv("NOID_TEST_CLIENTS"), "clients:1")
	n.want(0, "create", "a", "--image", "clients:1", "--mem", "1536", "--wait")
	n.want(0, "cp", program, "a:/root/fetch")
	n.want(0, "secret", "grant", "TOKEN", "a")
	for _, c := range clients {
		for _, host := range []string{"plain.test", "secure.test"} {
			t.Run(c.name+"/"+host, func(t *testing.T) {
				n := n.in(t)
				out, errs, code := n.runWithin(20*time.Minute, "exec", "-e", "HOST="+host, "a", "--", "sh", "-ec", "cd $(mktemp -d); "+c.script)
				if code != 0 || !strings.Contains(out, word) {
					t.Errorf("exit code %d\n%s\n%s", code, out, errs)
				}
			})
		}
	}
	t.Run("idle", func(t *testing.T) { idle(n.in(t), "a", idleClients) })
	t.Run("scan", func(t *testing.T) {
		n := n.in(t)
		n.want(0, "exec", "a", "--", "sh", "-c", "! grep -rqs "+value[:20]+" /root /etc /tmp /var/log /proc/self/environ")
		n.want(0, "checkpoint", "a")
		n.want(0, "verify", "--scan-secrets", "a")
	})
}

// idleClients are programs for idle.
var idleClients = map[string]string{
	"go": "/root/fetch twice http://plain.test/hello $0",
	"python": `python3 -uc 'import os, requests, sys, time
s = requests.Session()
for word in "first", "second":
  began = time.monotonic(); s.get("http://plain.test/hello", timeout=60).raise_for_status(); print(word, int((time.monotonic() - began) * 1000))
  while not os.path.exists(sys.argv[1]): time.sleep(0.05)' $0`,
	"node": `node -e 'const fs = require("fs"), agent = new (require("http").Agent)({keepAlive: true});
const get = word => { const began = Date.now(); require("http").get("http://plain.test/hello", {agent}, r => {
  r.on("data", () => 0).on("end", () => console.log(word, Date.now() - began)) }) };
get("first");
const wait = setInterval(() => { if (fs.existsSync(process.argv[1])) { clearInterval(wait); get("second") } }, 50)' $0`,
}
