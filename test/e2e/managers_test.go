package e2e

import (
	"os"
	"strings"
	"testing"
	"time"
)

// leased has addresses of leases: that end, which noid's own do not.
const leased = leased6 + "ip -4 address show dev eth0 dynamic | grep 10.63.0.2/24 && "

// leased6 has that of DHCPv6, which has no network about it (RFC 8415, 21.6).
const leased6 = "ip -6 address show dev eth0 dynamic | grep fd63:6e6f:6964::2/128 && "

// managers are what sets up the network of a Debian, by DHCP and DHCPv6, each as its documentation says. boot is for the
// kernel's command line; setUp comes before the boot, take after each. is fails unless it has the device by its leases,
// and renew has it ask again.
var managers = []struct{ name, boot, setUp, take, is, renew string }{
	{"networkd", online + udev + "systemd.mask=NetworkManager-wait-online.service systemd.mask=networking.service",
		`printf '[Match]\nName=eth0\n[Network]\nDHCP=yes\n' >/etc/systemd/network/eth0.network; systemctl enable systemd-networkd`, ":",
		leased + `grep ADMIN_STATE=configured /run/systemd/netif/links/*`, `systemctl restart systemd-networkd`},
	// dhclient adds its IPv4 address to a device that has it as noid's own, which so stays.
	{"ifupdown", online + udev + "systemd.mask=NetworkManager-wait-online.service systemd.mask=NetworkManager.service",
		`printf 'auto eth0\niface eth0 inet dhcp\niface eth0 inet6 dhcp\n' >/etc/network/interfaces.d/eth0; systemctl enable networking`, ":",
		leased6 + `grep 'fixed-address 10.63.0.2;' /var/lib/dhcp/dhclient.eth0.leases && grep eth0=eth0 /run/network/ifstate`,
		`ifdown eth0; rm /var/lib/dhcp/dhclient*.eth0.leases; ifup eth0`},
	{"NetworkManager", "systemd.mask=networking.service", ":",
		`nmcli connection up 'Wired connection 1'`,
		leased + `nmcli -g GENERAL.STATE,GENERAL.CONNECTION device show eth0 | grep '^Wired connection 1'`,
		`nmcli connection down 'Wired connection 1'; nmcli connection up 'Wired connection 1'`},
}

// online has Debian boot for the network alone: emulated, each further service takes seconds. udev is what a manager
// needs without D-Bus, whose socket wants nearly all of a boot.
const (
	online = "systemd.unit=network-online.target "
	udev   = "systemd.wants=systemd-udevd.service systemd.wants=systemd-udev-trigger.service "
)

// TestManagers has whatever manages a Debian's network get the guest's address by DHCP, beside noid's agent: at its
// boot, over a checkpoint, a restore, a fork, and another lease. 'make torture' makes the image.
func TestManagers(t *testing.T) {
	image := os.Getenv("NOID_TEST_MANAGERS")
	if image == "" {
		t.Skip("NOT RUN: 'make torture' makes the image with what manages networks")
	}
	n := setup(t)
	port := hostServer(t)
	n.want(0, "image", "import", "tar:"+image, "managers:1")
	for _, m := range managers {
		t.Run(m.name, func(t *testing.T) {
			n := n.in(t)
			clone := m.name + "-clone"
			within := func(what, vm, script string) {
				t.Helper()
				out, errs, code := n.runWithin(30*time.Minute, "exec", vm, "--", "sh", "-ec", script)
				if code != 0 {
					t.Fatalf("%s: exit code %d\n%s\n%s\n%s", what, code, out, errs, n.want(0, "exec", vm, "--", "sh", "-c", "ip address; journalctl -b -n 60"))
				}
			}
			manages := func(vm, when string) {
				t.Helper()
				within(when, vm, "for i in $(seq 900); do "+m.is+" && exit; sleep 1; done; exit 1")
				n.hasNetwork(vm, when, port)
			}
			n.want(0, "create", m.name, "--image", "managers:1", "--cpus", "2", "--host-port", port,
				"--boot-args", m.boot, "--wait")
			n.want(0, "exec", "-e", "SYSTEMD_OFFLINE=1", m.name, "--", "sh", "-ec", m.setUp+"\nsync") // systemd itself still boots
			n.want(0, "stop", "--force", m.name)
			n.want(0, "start", m.name)
			within("its start", m.name, "for i in $(seq 900); do { "+m.take+"\n} && exit; sleep 1; done; exit 1")
			manages(m.name, "after its boot")
			n.want(0, "checkpoint", m.name, "--label", "one")
			manages(m.name, "after a checkpoint")
			n.want(0, "restore", "--no-backup", m.name, "one")
			manages(m.name, "put back")
			n.want(0, "fork", m.name, "--as", clone)
			manages(clone, "in a clone")
			within("asking for a lease", clone, m.renew)
			manages(clone, "with another lease")
			n.want(0, "destroy", "--checkpoints", m.name, clone)
		})
	}
}

// hasNetwork looks whether the guest of name has its addresses, and reaches a port of this host by its name over both.
func (n noid) hasNetwork(name, when, port string) {
	n.t.Helper()
	out := n.want(0, "exec", name, "--", "sh", "-c", `ip address show dev eth0; ip route; ip -6 route`)
	for _, want := range []string{"inet 10.63.0.2/24", "default via 10.63.0.1 ", "inet6 fd63:6e6f:6964::2/", "default via f"} {
		if !strings.Contains(out, want) {
			n.t.Errorf("%s: no %q:\n%s", when, want, out)
		}
	}
	for _, family := range []string{"-4", "-6"} {
		got := n.want(0, "exec", name, "--", "sh", "-c", `printf 'GET / HTTP/1.0\r\n\r\n' | nc "$1" -w 20 host.noid.internal "$0"`, port, family)
		_, body, _ := strings.Cut(got, "\r\n\r\n")
		n.equal(when+", by nc "+family, "of the host\n", body)
	}
}
