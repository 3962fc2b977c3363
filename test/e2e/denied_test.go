package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// deniedAddrs are of each range that mode default refuses, and of each way to say an IPv4 address by an IPv6 one, with
// what the log is to say of it. fileAt's network is the test's internet, and 198.51.100.1 an address of its host.
var deniedAddrs = map[string]string{
	"198.51.100.1": "this host itself", "64:ff9b::c633:6401": "this host itself", "0.1.2.3": "this host itself",
	"169.254.169.254": "link-local", "169.254.0.1": "link-local", "fe80::2%eth0": "link-local",
	"10.0.0.1": "private", "10.255.255.254": "private", "172.16.0.1": "private", "172.31.255.254": "private", "192.168.0.1": "private",
	"192.168.255.254": "private", "fd00:ec2::254": "private", "fc00::1": "private",
	"100.64.0.1": "provider", "100.127.255.254": "provider", "168.63.129.16": "platform", "fec0::1": "site-local",
	"192.0.2.1": "documentation", "2001:db8::1": "documentation", "198.18.0.1": "benchmark", "240.0.0.1": "reserved", "192.88.99.1": "reserved",
	"::ffff:10.0.0.2": "private", "::ffff:169.254.169.253": "link-local",
	"64:ff9b::a9fe:a9fe": "link-local", "64:ff9b::7f00:1": "this host itself", "64:ff9b::a00:1": "private", "64:ff9b:1::a00:1": "NAT64",
	"2002:7f00:1::1": "this host itself", "2002:a00:1::1": "private", "::10.0.0.1": "not of the internet", "::127.0.0.1": "this host itself",
	"2001:0:a00:1::1": "reserved", "2001:db9::5efe:a00:1": "private", "4000::1": "not of the internet",
}

// libcSpellings are what a guest's libc takes for an address.
var libcSpellings = map[string][]string{
	"169.254.169.254": {"2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.16689662", "0xA9.254.0251.254"},
	"10.0.0.1":        {"10.1", "012.0.0.1", "0xa000001", "167772161"},
	"192.168.1.1":     {"192.168.257", "3232235777", "0xc0.0xa8.1.1"},
	"100.64.0.1":      {"100.4194305", "0144.0100.0.01"},
}

// deniedRanges has the guest of name try each of them: each is refused, and the log says why. How long it takes it reports.
func (n noid) deniedRanges(name string) {
	n.t.Helper()
	const tcpAndUDP, tcp = "81", "82" // ports, to tell them in the log
	program := filepath.Join(n.t.TempDir(), "refused")
	build := exec.Command("go", "build", "-trimpath", "-o", program, "./refused")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		n.t.Fatalf("%v: %s", err, out)
	}
	n.want(0, "cp", program, name+":/root/refused")
	args := []string{"exec", name, "--", "/root/refused"}
	for a := range deniedAddrs {
		if strings.Contains(a, ":") {
			a = "[" + a + "]"
		}
		args = append(args, a+":"+tcpAndUDP)
	}
	var took []int
	for line := range strings.Lines(n.want(0, args...)) {
		words := strings.SplitN(strings.TrimSpace(line), "\t", 4)
		ms, err := strconv.Atoi(words[2])
		if err != nil || words[3] != "refused" {
			n.t.Errorf("%s to %s: %s", words[0], words[1], words[3])
		}
		took = append(took, ms)
	}
	slices.Sort(took)
	n.t.Logf("%d tries refused after %d ms, the median, and %d ms, the longest", len(took), took[len(took)/2], took[len(took)-1])
	script, count := "", 0
	for a, list := range libcSpellings {
		script += "for a in " + strings.Join(list, " ") + "; do nc -w 30 $a " + tcp + " </dev/null && echo reached $a, which is " + a + "; done\n"
		count += len(list)
	}
	n.equal("what is spelled otherwise", "", n.want(0, "exec", name, "--", "sh", "-c", script+"true"))

	log := n.want(0, "net", "log", name)
	for a, why := range deniedAddrs {
		to := netip.AddrPortFrom(netip.MustParseAddr(a).Unmap().WithZone(""), 81)
		for _, proto := range []string{"tcp", "udp"} {
			_, line, found := strings.Cut(log, fmt.Sprintf("proto=%s to=%s why=", proto, to))
			if line, _, _ = strings.Cut(line, "\n"); !found || !strings.Contains(line, why) {
				n.t.Errorf("the log of %s to %s: %q, not %s", proto, to, line, why)
			}
		}
	}
	for a, list := range libcSpellings {
		if got := strings.Count(log, fmt.Sprintf("proto=tcp to=%s:%s ", a, tcp)); got != len(list) {
			n.t.Errorf("%d of %q are logged as %s", got, list, a)
		}
	}
}
