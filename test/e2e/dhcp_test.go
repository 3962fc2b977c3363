package e2e

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// busyboxDHCP is a lease taken as Alpine takes it. Everything of before is removed first.
const busyboxDHCP = `
cat >/tmp/lease <<'END'
#!/bin/sh
case $1 in
deconfig) ip address flush dev $interface; ip link set $interface up;;
bound|renew) ip address add $ip/$mask dev $interface; ip route add default via $router dev $interface
  echo "nameserver $dns" >/etc/resolv.conf;;
esac
END
chmod 755 /tmp/lease; >/etc/resolv.conf
udhcpc -i eth0 -n -q -f -s /tmp/lease`

// takesOver has a script in the guest of name set up its network, and looks whether it works.
func (n noid) takesOver(name, what, script, port string) {
	n.t.Helper()
	n.want(0, "exec", name, "--", "sh", "-ec", script)
	out := n.want(0, "exec", name, "--", "sh", "-c", `ip -4 address show dev eth0; ip -4 route; cat /etc/resolv.conf`)
	for _, want := range []string{"inet 10.63.0.2/24", "default via 10.63.0.1 ", "nameserver 10.63.0.1"} {
		if !strings.Contains(out, want) {
			n.t.Errorf("%s has set up no %q:\n%s", what, want, out)
		}
	}
	got := n.want(0, "exec", name, "--", "sh", "-c", `printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 20 host.noid.internal "$0"`, port)
	_, body, _ := strings.Cut(got, "\r\n\r\n")
	n.equal("through "+what, "of the host\n", body)
}

// hostServer is a server on this host's loopback, and its port.
func hostServer(t *testing.T) (port string) {
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "of the host\n") }))
	t.Cleanup(host.Close)
	_, port, err := net.SplitHostPort(host.Listener.Addr().String())
	check(t, err)
	return port
}

// TestDHCP: a guest that sets up its network itself, by DHCP, has the same one.
func TestDHCP(t *testing.T) {
	t.Parallel()
	n := setup(t)
	port := hostServer(t)
	n.want(0, "create", "a", "--host-port", port, "--wait")
	n.takesOver("a", "udhcpc", busyboxDHCP, port)
}
