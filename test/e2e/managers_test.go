package e2e

import (
	"os"
	"strings"
	"testing"
	"time"
)

// leased has an address of a lease: one that ends, which noid's own does not.
const leased = "ip -4 address show dev eth0 dynamic | grep 10.63.0.2/24 && "

// managers are what sets up the network of a Debian, by DHCP, each as its documentation says. wants are the units beside
// it, and setUp comes before the boot. is fails unless it has the device by a lease, and renew has it ask again.
var managers = []struct{ name, wants, setUp, is, renew string }{
	{"networkd", udev + "systemd.mask=NetworkManager-wait-online.service systemd.mask=networking.service",
		`printf '[Match]\nName=eth0\n[Network]\nDHCP=yes\n' >/etc/systemd/network/eth0.network; systemctl enable systemd-networkd`,
		leased + `grep ADMIN_STATE=configured /run/systemd/netif/links/*`, `systemctl restart systemd-networkd`},
}

// udev is what a manager needs without D-Bus, whose socket wants nearly all of a boot.
const udev = "systemd.wants=systemd-udevd.service systemd.wants=systemd-udev-trigger.service "

// TestManagers has whatever manages a Debian's network get the guest's address by DHCP, beside noid's agent: at its
// boot, over a checkpoint, a restore and a fork. 'make torture' makes the image.
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
			// Debian boots for the network alone: emulated, each further service takes seconds.
			n.want(0, "create", m.name, "--image", "managers:1", "--cpus", "2", "--host-port", port,
				"--boot-args", "systemd.unit=network-online.target "+m.wants, "--wait")
			n.want(0, "exec", "-e", "SYSTEMD_OFFLINE=1", m.name, "--", "sh", "-ec", m.setUp+"; sync") // systemd itself still boots
			n.want(0, "stop", "--force", m.name)
			n.want(0, "start", m.name)
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

// hasNetwork looks whether the guest of name has its address, and reaches a port of this host by its name.
func (n noid) hasNetwork(name, when, port string) {
	n.t.Helper()
	out := n.want(0, "exec", name, "--", "sh", "-c", `ip -4 address show dev eth0; ip -4 route`)
	for _, want := range []string{"inet 10.63.0.2/24", "default via 10.63.0.1 "} {
		if !strings.Contains(out, want) {
			n.t.Errorf("%s: no %q:\n%s", when, want, out)
		}
	}
	got := n.want(0, "exec", name, "--", "sh", "-c", `printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 20 host.noid.internal "$0"`, port)
	_, body, _ := strings.Cut(got, "\r\n\r\n")
	n.equal(when, "of the host\n", body)
}
