package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"noid/internal/errs"
	"noid/internal/lazy"
)

// Rule names what a guest may reach, or may not: addresses or a domain, and perhaps ports. Two rules that mean the same
// are equal.
type Rule struct {
	prefix netip.Prefix // addresses, in no IPv4 form of IPv6; not valid in a rule with a domain, and in "*"
	domain string       // lower case, without a dot at the end
	below  bool         // the names below domain, and not domain itself
	first  uint16       // port; 0 for all ports
	last   uint16
	proto  string // "tcp" or "udp"; "" for both
}

const ruleHint = "write ADDRESS, CIDR, DOMAIN, *.DOMAIN or *, perhaps with :PORT or :PORT-PORT, then /tcp or /udp: [fd00::1]:443/tcp"

// ParseRule reads a rule: ADDRESS, CIDR, DOMAIN, *.DOMAIN or * (every address), each perhaps with :PORT or :FIRST-LAST
// behind it, and /tcp or /udp behind that. An IPv6 address that has a port is written in brackets. What is none is
// errs.ErrUsage.
func ParseRule(text string) (Rule, error) {
	var r Rule
	what := strings.ToLower(text)
	for _, proto := range []string{"tcp", "udp"} {
		if rest, ok := strings.CutSuffix(what, "/"+proto); ok {
			what, r.proto = rest, proto
			break
		}
	}
	what, ports, hasPorts := cutPorts(what)
	err := r.setDestination(what)
	if err == nil && hasPorts {
		err = r.setPorts(ports)
	}
	if err != nil {
		return Rule{}, errs.New(errs.ErrUsage, "%.80q is no rule: %w", text, err).Hint(ruleHint)
	}
	return r, nil
}

// cutPorts cuts what stands behind the last colon, if that is not one of an IPv6 address.
func cutPorts(text string) (what, ports string, found bool) {
	if inner, ok := strings.CutPrefix(text, "["); ok {
		what, rest, closed := strings.Cut(inner, "]")
		ports, found = strings.CutPrefix(rest, ":")
		if !closed || rest != "" && !found {
			return text, "", false
		}
		return what, ports, found
	}
	at := strings.LastIndexByte(text, ':')
	slash := strings.LastIndexByte(text, '/')
	if at < 0 || slash > at || slash < 0 && strings.Count(text, ":") > 1 {
		return text, "", false
	}
	return text[:at], text[at+1:], true
}

func (r *Rule) setDestination(text string) error {
	if text == "*" {
		return nil
	}
	if strings.Contains(text, "/") {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return fmt.Errorf("%.60q is no network", text)
		}
		if a := p.Addr(); a.Is4In6() {
			if p.Bits() < 96 {
				return fmt.Errorf("%s is more than the IPv4 addresses", text)
			}
			p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
		}
		r.prefix = p.Masked()
		return nil
	}
	if a, err := netip.ParseAddr(text); err == nil {
		if a.Zone() != "" {
			return errors.New("an address with a zone")
		}
		a = a.Unmap()
		r.prefix = netip.PrefixFrom(a, a.BitLen())
		return nil
	}
	r.domain, r.below = strings.CutPrefix(text, "*.")
	if !r.below {
		r.domain = text
	}
	r.domain = strings.TrimSuffix(r.domain, ".")
	return checkDomain(r.domain)
}

var label = lazy.Regexp(`^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$`)

// number is the last label of what some programs take for an IPv4 address: 127.1, 0x7f000001.
var number = lazy.Regexp(`^([0-9]+|0x[0-9a-f]*)$`)

func checkDomain(name string) error {
	if strings.ContainsFunc(name, func(r rune) bool { return r > 0x7e }) {
		return fmt.Errorf("%.80q is not ASCII: write each such label as xn--…", name)
	}
	labels := strings.Split(name, ".")
	for _, l := range labels {
		if !label().MatchString(l) {
			return fmt.Errorf("%.80q is neither an address nor a domain", name)
		}
	}
	if len(name) > 253 || number().MatchString(labels[len(labels)-1]) {
		return fmt.Errorf("%.80q is neither an address nor a domain", name)
	}
	return nil
}

func (r *Rule) setPorts(text string) (err error) {
	first, last, isRange := strings.Cut(text, "-")
	if r.first, err = ParsePort(first); err != nil {
		return err
	}
	r.last = r.first
	if isRange {
		if r.last, err = ParsePort(last); err == nil && r.last < r.first {
			err = fmt.Errorf("ports %s: the last is below the first", text)
		}
	}
	return err
}

// ParsePort reads a port, 1 to 65535.
func ParsePort(text string) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 || text[0] == '+' {
		return 0, errs.New(errs.ErrUsage, "%.20q is no port from 1 to 65535", text)
	}
	return uint16(n), nil
}

// String returns the rule as ParseRule reads it.
func (r Rule) String() string {
	text := "*"
	switch {
	case r.domain != "" && r.below:
		text = "*." + r.domain
	case r.domain != "":
		text = r.domain
	case r.prefix.IsSingleIP():
		text = r.prefix.Addr().String()
	case r.prefix.IsValid():
		text = r.prefix.String()
	}
	if r.first != 0 {
		if strings.Contains(text, ":") {
			text = "[" + text + "]"
		}
		text += ":" + strconv.Itoa(int(r.first))
		if r.last != r.first {
			text += "-" + strconv.Itoa(int(r.last))
		}
	}
	if r.proto != "" {
		text += "/" + r.proto
	}
	return text
}

// fits reports whether the rule is about connections of proto to port at all.
func (r Rule) fits(proto string, port uint16) bool {
	return (r.proto == "" || r.proto == proto) && (r.first == 0 || r.first <= port && port <= r.last)
}

// Name returns the one name that the rule is about, in lower case, or "": it is about addresses, or names below one.
func (r Rule) Name() string {
	if r.below {
		return ""
	}
	return r.domain
}

// names reports whether the rule is about the domain name, which is lower case and has no dot at its end.
func (r Rule) names(name string) bool {
	if r.below {
		return strings.HasSuffix(name, "."+r.domain)
	}
	return r.domain != "" && name == r.domain
}

// everything reports whether the rule is about every address, of one version of IP at least.
func (r Rule) everything() bool {
	return r.domain == "" && (!r.prefix.IsValid() || r.prefix.Bits() == 0)
}

// covers reports whether the rule is about the address a by itself, whatever domain has it.
func (r Rule) covers(a netip.Addr) bool {
	return r.domain == "" && (!r.prefix.IsValid() || r.prefix.Contains(a))
}
