package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"noid/internal/network"
	"noid/internal/network/address"
)

func parse(t *testing.T, c network.Config) *Policy {
	t.Helper()
	p, err := Parse(c)
	if err != nil {
		t.Fatal(err)
	}
	p.SetHost([]netip.Addr{netip.MustParseAddr("198.18.0.9"), netip.MustParseAddr("8.8.4.4"), netip.MustParseAddr("2600::9")})
	return p
}

// spellings are the addresses of IPv6 by which the IPv4 address a may be reached.
func spellings(a netip.Addr) []string {
	b := a.As4()
	hex := fmt.Sprintf("%02x%02x:%02x%02x", b[0], b[1], b[2], b[3])
	flipped := fmt.Sprintf("%02x%02x:%02x%02x", b[0]^0xff, b[1]^0xff, b[2]^0xff, b[3]^0xff)
	return []string{"::ffff:" + a.String(), "::" + hex, "::ffff:0:" + hex, "64:ff9b::" + hex, "64:ff9b:1::" + hex, "2002:" + hex + "::1",
		"2001:0:" + hex + "::", "2001:0:0808:0808::" + flipped, "2600::5efe:" + hex, "2600:0:0:1:200:5efe:" + hex}
}

// TestRefused has mode default refuse each range at both ends, in every spelling of its addresses.
func TestRefused(t *testing.T) {
	p := parse(t, network.Config{Mode: network.Default})
	for _, c := range []struct {
		addrs, says string
	}{
		{"0.0.0.0 0.255.255.255 127.0.0.1 127.255.255.255 198.18.0.9 8.8.4.4", "this host itself"},
		{"10.0.0.0 10.255.255.255 172.16.0.0 172.31.255.255 192.168.0.0 192.168.255.255", "a private network"},
		{"169.254.0.0 169.254.169.254 169.254.255.255", "link-local"},
		{"100.64.0.0 100.100.100.200 100.127.255.255", "a provider's own network"},
		{"168.63.129.16", "the cloud's platform"},
		{"224.0.0.1 239.255.255.255", "a multicast group"},
		{"255.255.255.255", "a broadcast"},
		{"192.0.0.192 192.88.99.1 240.0.0.0 255.255.255.254", "a reserved range"},
		{"192.0.2.1 198.51.100.255 203.0.113.1", "a documentation range"},
		{"198.18.0.0 198.19.255.255", "a benchmark range"},
		{"10.63.0.1 10.63.0.7", "the vm's own network"},
		{":: ::1 2600::9", "this host itself"},
		{"fc00:: fd00:ec2::254 fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "a private network"},
		{"fe80:: febf:ffff::1", "link-local"},
		{"fec0:: feff::1", "site-local"},
		{"ff02::1 ffff::", "a multicast group"},
		{"64:ff9b:1::808:808", "a NAT64 of this network"},
		{"2001:db8::1 3fff:fff::1", "a documentation range"},
		{"2001:2::1", "a benchmark range"},
		{"2001:10::1 2001:1ff::1", "a reserved range"},
		{"100::1 1fff::1 4000::1 5f00::1 fbff::1 ::ffff:0:808:808", "not of the internet"},
		{"fd63:6e6f:6964::1 fd63:6e6f:6964::9", "the vm's own network"},
	} {
		for _, text := range strings.Fields(c.addrs) {
			a := netip.MustParseAddr(text)
			err := p.Allow("tcp", netip.AddrPortFrom(a, 80))
			if err == nil || !strings.HasSuffix(err.Error(), c.says) {
				t.Errorf("%s: %v, want %q", a, err, c.says)
			}
			if !a.Is4() {
				continue
			}
			for _, same := range spellings(a) {
				if err := p.Allow("udp", netip.AddrPortFrom(netip.MustParseAddr(same), 80)); err == nil {
					t.Errorf("%s is allowed, which has %s in it", same, a)
				}
			}
		}
	}
	for _, a := range []string{"8.8.8.8", "1.0.0.0", "11.0.0.0", "9.255.255.255", "126.255.255.255", "128.0.0.0", "172.15.255.255", "172.32.0.0", "100.63.255.255",
		"100.128.0.0", "169.253.255.255", "169.255.0.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "::ffff:8.8.8.8",
		"64:ff9b::808:808", "2600::1", "2a00:1450::1", "2002:808:808::1", "2001:200::1", "2001:4860:4860::8888"} {
		for _, proto := range []string{"tcp", "udp", "icmp"} {
			if err := p.Allow(proto, netip.AddrPortFrom(netip.MustParseAddr(a), 443)); err != nil {
				t.Errorf("%s %s: %v", proto, a, err)
			}
		}
	}
	if p.Allow("tcp", netip.AddrPort{}) == nil || p.Allow("tcp", netip.MustParseAddrPort("[fe80::1%eth0]:1")) == nil {
		t.Error("no address, or one with a zone, is allowed")
	}
}

// TestModesAndRules asks policies for addresses; "-" before one means that it is refused.
func TestModesAndRules(t *testing.T) {
	type c = network.Config
	for _, test := range []struct {
		name  string
		c     c
		wants string
	}{
		{"none", c{Mode: "none", Allow: []string{"8.8.8.8"}}, "-8.8.8.8:53/tcp"},
		{"open reaches the LAN and no host", c{Mode: "open"}, `10.1.2.3:22/tcp 169.254.169.254:80/tcp 8.8.8.8:1/udp [fd00::1]:1/tcp -8.8.4.4:22/tcp
			-127.0.0.1:22/tcp -0.0.0.0:22/tcp -[::]:22/tcp -[::ffff:127.0.0.1]:22/tcp -[64:ff9b::7f00:1]:22/tcp -[2600::9]:22/tcp -224.0.0.251:5353/udp
			-255.255.255.255:67/udp -[2002:808:404::1]:22/tcp`},
		{"a rule opens no host", c{Mode: "open", Allow: []string{"127.0.0.1", "8.8.4.4", "*"}}, "-127.0.0.1:22/tcp -8.8.4.4:22/tcp 8.8.8.8:1/tcp"},
		{"alone", c{Mode: "default", Allow: []string{"8.8.8.8:53", "[2600::1]:443/tcp"}}, `8.8.8.8:53/udp 8.8.8.8:53/tcp -8.8.8.8:54/udp -1.1.1.1:53/udp
			[2600::1]:443/tcp -[2600::1]:443/udp -[2600::2]:443/tcp [::ffff:8.8.8.8]:53/udp`},
		{"names a private one", c{Mode: "default", Allow: []string{"10.1.0.0/16", "*:443"}}, "10.1.2.3:22/tcp -10.2.0.1:443/tcp 8.8.8.8:443/tcp -8.8.8.8:80/tcp"},
		{"all is the internet", c{Mode: "default", Allow: []string{"0.0.0.0/0", "::/0"}}, `8.8.8.8:1/tcp [2600::1]:1/tcp -10.0.0.1:1/tcp -[fd00::1]:1/tcp
			-169.254.169.254:80/tcp`},
		{"wider than a range", c{Mode: "default", Allow: []string{"192.0.0.0/8", "fc00::/6"}}, "192.1.1.1:1/tcp -192.168.0.1:1/tcp -[fd00::1]:1/tcp"},
		{"an address within", c{Mode: "default", Allow: []string{"169.254.169.254:80", "fd00:ec2::254"}}, "169.254.169.254:80/tcp -169.254.169.254:81/tcp [fd00:ec2::254]:80/tcp"},
		{"its NAT64 is not named", c{Mode: "default", Allow: []string{"10.0.0.1", "*"}}, "10.0.0.1:1/tcp -[64:ff9b::a00:1]:1/tcp"},
		{"deny wins", c{Mode: "default", Allow: []string{"8.0.0.0/8", "10.0.0.1"}, Deny: []string{"8.8.8.8", "10.0.0.1:22"}}, `-8.8.8.8:53/udp 8.8.8.9:53/udp
			-10.0.0.1:22/tcp 10.0.0.1:23/tcp -[::ffff:8.8.8.8]:1/tcp`},
		{"deny in every spelling", c{Mode: "open", Deny: []string{"8.8.8.8", "9.9.9.9:25"}}, `-[64:ff9b::808:808]:1/tcp -[2002:808:808::]:1/tcp -9.9.9.9:25/tcp
			-[64:ff9b::909:909]:25/tcp 9.9.9.9:26/tcp`},
		{"ranges of ports", c{Mode: "default", Allow: []string{"*:8000-8010/tcp"}}, "8.8.8.8:8000/tcp 8.8.8.8:8010/tcp -8.8.8.8:8011/tcp -8.8.8.8:8000/udp -8.8.8.8:0/icmp"},
		{"the host by its name", c{Mode: "default", HostPorts: []uint16{5432}, Allow: []string{"1.2.3.4"}}, `10.63.0.254:5432/tcp [fd63:6e6f:6964::fe]:5432/tcp
			-10.63.0.254:22/tcp -127.0.0.1:5432/tcp -8.8.4.4:5432/tcp -10.63.0.1:5432/tcp`},
		{"mapped in a rule", c{Mode: "default", Allow: []string{"::ffff:10.0.0.0/104"}}, "10.1.2.3:1/tcp"},
	} {
		p := parse(t, test.c)
		for _, want := range strings.Fields(test.wants) {
			text, refused := strings.CutPrefix(want, "-")
			to, proto, _ := strings.Cut(text, "/")
			if err := p.Allow(proto, netip.MustParseAddrPort(to)); (err != nil) != refused {
				t.Errorf("%s: %s: %v", test.name, text, err)
			} else if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("%q is not one line", err)
			}
		}
	}
	for _, wrong := range []c{{}, {Mode: "closed"}, {Mode: "open", Allow: []string{"a b"}}, {Mode: "open", Deny: []string{""}}, {Mode: "open", Deny: make([]string, 1001)}} {
		if _, err := Parse(wrong); err == nil {
			t.Errorf("%+v is a policy", wrong)
		}
	}
}

// TestDomains: a name counts for the addresses that were told for it, while they live, and opens no refused range.
func TestDomains(t *testing.T) {
	p := parse(t, network.Config{Mode: network.Default, Allow: []string{"api.Example.com.:443", "*.pypi.org"}, Deny: []string{"bad.pypi.org"}})
	now := time.Now()
	p.learned.now = func() time.Time { return now }
	a, b, inside := netip.MustParseAddr("1.1.1.1"), netip.MustParseAddr("2.2.2.2"), netip.MustParseAddr("10.0.0.1")
	tcp := func(a netip.Addr, port uint16) error { return p.Allow("tcp", netip.AddrPortFrom(a, port)) }
	if tcp(a, 443) == nil {
		t.Error("allowed before it was asked for")
	}
	p.Learn("API.example.COM.", []netip.Addr{netip.MustParseAddr("::ffff:1.1.1.1"), inside, address.Gateway4, netip.MustParseAddr("127.0.0.1")}, time.Second)
	p.Learn("files.pypi.org", []netip.Addr{b}, 300*time.Hour)
	p.Learn("evil.org", []netip.Addr{netip.MustParseAddr("3.3.3.3")}, time.Hour)
	for _, c := range []struct {
		to string
		ok bool
	}{{"1.1.1.1:443", true}, {"1.1.1.1:80", false}, {"2.2.2.2:80", true}, {"3.3.3.3:443", false}, {"10.0.0.1:443", false}, {"127.0.0.1:443", false}, {"10.63.0.1:443", false}} {
		if err := p.Allow("tcp", netip.MustParseAddrPort(c.to)); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.to, err)
		}
	}
	for name, ok := range map[string]bool{"api.example.com": true, "API.EXAMPLE.com.": true, "x.api.example.com": false, "pypi.org": false, "a.b.pypi.org": true,
		"bad.pypi.org": false, "notpypi.org": false, "evil.org": false, "": false} {
		if err := p.Resolve(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
	now = now.Add(minLife - 1)
	if err := tcp(a, 443); err != nil {
		t.Errorf("before the least life ends: %v", err)
	}
	now = now.Add(time.Minute + 2)
	if tcp(a, 443) == nil || p.Keep("tcp", netip.AddrPortFrom(a, 443)) != nil {
		t.Error("when the life has ended a new connection is allowed, or one that is there is not")
	}
	if now = now.Add(maxLife + time.Minute); tcp(b, 80) == nil {
		t.Error("allowed after the longest life")
	}
	p.Learn("x.pypi.org", []netip.Addr{b}, 0)
	next := parse(t, network.Config{Mode: network.Default, Allow: []string{"x.pypi.org"}})
	if next.Inherit(p); next.Allow("udp", netip.AddrPortFrom(b, 1)) != nil {
		t.Error("a new policy does not know what the old one has learned")
	}
	denied := parse(t, network.Config{Mode: network.Default, Deny: []string{"*.org"}})
	if denied.Inherit(p); denied.Allow("tcp", netip.AddrPortFrom(b, 1)) == nil || denied.Resolve("a.com") != nil {
		t.Error("the address of a denied name is allowed, or another name is refused")
	}
	if now = now.Add(2 * maxLife); denied.Allow("tcp", netip.AddrPortFrom(b, 1)) == nil {
		t.Error("a name is denied no more when its life has ended")
	}
	for _, c := range []network.Config{{Mode: network.Default, Deny: []string{"*"}}, {Mode: network.Default, Deny: []string{"*:25"}}} {
		if err := parse(t, c).Resolve("a.com"); (err == nil) != (c.Deny[0] == "*:25") {
			t.Errorf("with %q denied, a name: %v", c.Deny, err)
		}
	}
}

// TestRecall has another policy of the same rules know what one has learned of the names in them, and for as long.
func TestRecall(t *testing.T) {
	rules := network.Config{Mode: network.Default, Allow: []string{"*.example.com"}, Deny: []string{"evil.org"}}
	a, b, c := netip.MustParseAddr("1.1.1.1"), netip.MustParseAddr("2.2.2.2"), netip.MustParseAddr("3.3.3.3")
	p, now := parse(t, rules), time.Now()
	p.learned.now = func() time.Time { return now }
	for name, want := range map[string]bool{"a.example.com": true, "evil.org": true, "other.org": false} {
		if _, news := p.Learn(name, []netip.Addr{map[string]netip.Addr{"a.example.com": a, "evil.org": b}[name], c}, time.Hour); news != want {
			t.Errorf("%s is news: %v", name, news)
		}
	}
	if _, news := p.Learn("a.example.com", []netip.Addr{a}, time.Hour); news {
		t.Error("what is known is news")
	}
	if learned, news := p.Learn("a.example.com", []netip.Addr{b}, 2*time.Hour); !news || learned.Until.Sub(now) < 2*time.Hour || learned.Name != "a.example.com" {
		t.Errorf("another address is no news: %+v", learned)
	}
	names := p.Names()
	slices.SortFunc(names, func(a, b network.Name) int { return a.Until.Compare(b.Until) })
	if len(names) != 3 || names[2].Addrs[0] != b {
		t.Fatalf("names %+v", names)
	}
	next := parse(t, rules)
	next.learned.now = p.learned.now
	next.Recall(append(names, network.Name{Name: "long.example.com", Until: now.Add(1000 * time.Hour), Addrs: []netip.Addr{netip.MustParseAddr("9.9.9.9")}}))
	to := func(a string) error { return next.Allow("tcp", netip.MustParseAddrPort(a+":1")) }
	if err := to("1.1.1.1"); err != nil {
		t.Error(err)
	}
	if err := to("2.2.2.2"); err == nil || !strings.Contains(err.Error(), "evil.org") {
		t.Errorf("the address of a denied name: %v", err)
	}
	if now = now.Add(time.Hour + 2*time.Minute); to("1.1.1.1") == nil {
		t.Error("it counts for longer")
	}
	if now = now.Add(maxLife); to("9.9.9.9") == nil {
		t.Error("it counts for longer than anything")
	}
}

// TestLearnedIsBounded floods the policy with names and addresses: it forgets the ones used longest ago.
func TestLearnedIsBounded(t *testing.T) {
	p := parse(t, network.Config{Mode: network.Default, Allow: []string{"*.example.com"}})
	used := netip.MustParseAddr("9.9.9.9")
	p.Learn("used.example.com", []netip.Addr{used}, time.Hour)
	a := netip.MustParseAddr("11.0.0.0")
	for i := range 3 * maxNames {
		var addrs []netip.Addr
		for range 3 {
			addrs, a = append(addrs, a), a.Next()
		}
		p.Learn(fmt.Sprintf("%d.example.com", i), addrs, time.Hour)
		if p.Allow("tcp", netip.AddrPortFrom(used, 1)) != nil {
			t.Fatalf("the name that is in use was forgotten after %d others", i)
		}
	}
	for range 100 {
		var addrs []netip.Addr
		for range 100 {
			addrs, a = append(addrs, a), a.Next()
		}
		p.Learn("many.example.com", addrs, time.Hour)
		if p.Allow("tcp", netip.AddrPortFrom(addrs[0], 1)) != nil {
			t.Fatal("the newest address is not allowed")
		}
	}
	l := p.learned
	if len(l.names) > maxNames || l.order.Len() != len(l.names) || len(l.at) > 3*maxNames+maxAddresses {
		t.Errorf("%d names in a list of %d, %d addresses", len(l.names), l.order.Len(), len(l.at))
	}
	if p.Allow("tcp", netip.MustParseAddrPort("11.0.0.0:1")) == nil {
		t.Error("the name used longest ago is remembered")
	}
}

func TestRules(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.0/8": "10.0.0.0/8", "10.1.2.3/8": "10.0.0.0/8", "10.0.0.0/8:443": "10.0.0.0/8:443", "10.0.0.1/32": "10.0.0.1", "1.2.3.4": "1.2.3.4",
		"1.2.3.4:80/TCP": "1.2.3.4:80/tcp", "1.2.3.4:80-90/udp": "1.2.3.4:80-90/udp", "1.2.3.4/udp": "1.2.3.4/udp", "FD00::1": "fd00::1",
		"[fd00::1]": "fd00::1", "[fd00::1]:443": "[fd00::1]:443", "[fd00::/8]:443": "[fd00::/8]:443", "fd00::/8:443": "[fd00::/8]:443",
		"fd00::1:443": "fd00::1:443", "::ffff:1.2.3.4": "1.2.3.4", "::ffff:10.0.0.0/104": "10.0.0.0/8", "Example.COM.": "example.com", "localhost:80": "localhost:80",
		"*.example.com:443/tcp": "*.example.com:443/tcp", "*": "*", "*:443": "*:443", "*/udp": "*/udp", "xn--bcher-kva.de": "xn--bcher-kva.de", "_dmarc.a": "_dmarc.a",
	} {
		r, err := ParseRule(text)
		if err != nil || r.String() != want {
			t.Errorf("%s: %q, %v; want %q", text, r, err, want)
		}
	}
	for _, wrong := range []string{"", ":80", "1.2.3.4:", "1.2.3.4:0", "1.2.3.4:65536", "1.2.3.4:+80", "1.2.3.4:90-80", "1.2.3.4:80-", "1.2.3", "127.1", "0x7f000001", "2130706433",
		"010.0.0.1", "a.b.0x7f", "10.0.0.0/33", "::/129", "::ffff:0:0/95", "fe80::1%eth0", "[fd00::1", "[fd00::1]443", "[fd00::1]]:1", "*.", "**.a", "a.*.b", "*a.b", "a..b", "a b",
		"-a.b", "a-.b", "http://a.b", "a.b/path", "bücher.de", strings.Repeat("a.", 127) + "aa", "1.2.3.4/icmp", "a\n.b", "1.2.3.4:80/tcp/udp", "user@host"} {
		if r, err := ParseRule(wrong); err == nil {
			t.Errorf("%q is rule %q", wrong, r)
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("%q is not one line", err)
		}
	}
}

// FuzzRule: what a rule is printed as is that rule; and no policy of any rule reaches this host.
func FuzzRule(f *testing.F) {
	for _, seed := range []string{"10.0.0.0/8:443", "*.a.b:1-2/udp", "[::]:1", "*", "::ffff:127.0.0.1", "0.0.0.0/0"} {
		f.Add(seed, []byte("\x7f\x00\x00\x01"))
	}
	f.Fuzz(func(t *testing.T, text string, to []byte) {
		r, err := ParseRule(text)
		if err != nil {
			return
		}
		if again, err := ParseRule(r.String()); err != nil || again != r {
			t.Errorf("%q is %q, which is %q, %v", text, r, again, err)
		}
		a, ok := netip.AddrFromSlice(to)
		if !ok {
			return
		}
		p := parse(t, network.Config{Mode: network.Open, Allow: []string{text}})
		p.Learn("a.b", []netip.Addr{a}, time.Hour)
		if u := a.Unmap(); (u.IsLoopback() || u.IsUnspecified() || u.IsMulticast() || slices.Contains(*p.host.Load(), u)) && p.Allow("tcp", netip.AddrPortFrom(a, 1)) == nil {
			t.Errorf("%q allows %s", text, a)
		}
	})
}

// TestOpens: which rules lead to addresses that mode default refuses.
func TestOpens(t *testing.T) {
	for text, want := range map[string]bool{
		"*": false, "0.0.0.0/0": false, "example.com": false, "8.8.8.8": false, "8.0.0.0/7": false, "8.8.8.0/24:53": false,
		"10.0.0.0/8": true, "10.1.2.3:5432": true, "169.254.169.254": true, "100.64.0.0/10": true, "fd00::/8": true,
		"64:ff9b::a00:1": true, "::ffff:10.0.0.1": true,
	} {
		r, err := ParseRule(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := r.Opens(); got != want {
			t.Errorf("%s opens: %v", text, got)
		}
	}
}
