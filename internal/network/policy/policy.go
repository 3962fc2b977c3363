// Package policy decides what a guest may reach. What decides is the address that is dialled: names count only as far
// as noid's own resolver has told this guest their addresses.
package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"noid/internal/errs"
	"noid/internal/network"
	"noid/internal/network/address"
)

// Policy is what one VM may reach. Its methods may be called side by side.
type Policy struct {
	mode        network.Mode
	allow, deny []Rule
	hostPorts   []uint16
	host        atomic.Pointer[[]netip.Addr]
	learned     *learned
}

// maxRules bounds each list of rules: every connection is held against all of them.
const maxRules = 1000

// Parse makes the policy of a configuration. What is wrong in it is errs.ErrUsage.
func Parse(c network.Config) (*Policy, error) {
	p := &Policy{mode: c.Mode, hostPorts: c.HostPorts, learned: newLearned()}
	p.SetHost(nil)
	if !slices.Contains(network.Modes, c.Mode) {
		return nil, errs.New(errs.ErrUsage, "%.40q is no mode of a network", c.Mode).Hint("choose none, default or open")
	}
	var err error
	if p.allow, err = parseRules(c.Allow); err != nil {
		return nil, err
	}
	if p.deny, err = parseRules(c.Deny); err != nil {
		return nil, err
	}
	return p, nil
}

func parseRules(texts []string) (rules []Rule, err error) {
	if len(texts) > maxRules {
		return nil, errs.New(errs.ErrUsage, "%d rules are more than %d", len(texts), maxRules)
	}
	for _, text := range texts {
		r, err := ParseRule(text)
		if err != nil {
			return nil, err
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// SetHost tells the policy this host's own addresses, which no guest reaches. They change: tell it again from time to
// time.
func (p *Policy) SetHost(addrs []netip.Addr) {
	own := make([]netip.Addr, len(addrs))
	for i, a := range addrs {
		own[i] = a.WithZone("").Unmap()
	}
	p.host.Store(&own)
}

// Inherit takes over what old, the policy so far, has learned, and its host's addresses. Of the two only p is used
// then.
func (p *Policy) Inherit(old *Policy) {
	p.learned = old.learned
	p.host.Store(old.host.Load())
}

// Learn notes that noid's resolver told the guest that name has addrs. name is what the guest asked for, whatever
// aliases lead from it to addrs. It counts for ttl, but for 5 minutes at least and a day at most. It reports whether this
// is news of a name that a rule is about.
func (p *Policy) Learn(name string, addrs []netip.Addr, ttl time.Duration) (learned network.Name, news bool) {
	learned = network.Name{Name: canonical(name), Until: p.learned.end(ttl), Addrs: addrs}
	return learned, p.learned.learn(learned.Name, addrs, learned.Until) && p.named(learned.Name)
}

// Names returns what was learned of names that a rule is about, and Recall has a policy know it again.
func (p *Policy) Names() []network.Name { return p.learned.list(p.named) }

// Recall notes what another policy has learned of the same guest.
func (p *Policy) Recall(names []network.Name) {
	last := p.learned.end(maxLife)
	for _, n := range names {
		if n.Until.After(last) {
			n.Until = last
		}
		p.learned.learn(canonical(n.Name), n.Addrs, n.Until)
	}
}

// named reports whether a rule is about a name.
func (p *Policy) named(name string) bool {
	about := func(r Rule) bool { return r.names(name) }
	return slices.ContainsFunc(p.allow, about) || slices.ContainsFunc(p.deny, about)
}

// canonical is a domain name as rules have it.
func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// Resolve refuses to look a name up for the guest, because a rule denies it, or because none of those that alone allow
// anything is about it: a name that is asked for tells something to whoever answers. The error says why, in one line.
func (p *Policy) Resolve(name string) error {
	name = canonical(name)
	for _, r := range p.deny {
		if (r.names(name) || r.everything() && !r.prefix.IsValid()) && r.first == 0 && r.proto == "" {
			return fmt.Errorf("%s is denied by %s", name, r)
		}
	}
	if p.mode == network.None {
		return errNone
	}
	if len(p.allow) > 0 && !slices.ContainsFunc(p.allow, func(r Rule) bool { return r.names(name) || r.everything() }) {
		return fmt.Errorf("no rule allows %s", name)
	}
	return nil
}

var errNone = fmt.Errorf("the vm has no network")

// Allow refuses a connection or a datagram of proto, "tcp", "udp" or "icmp", to an address that would be dialled.
// address.Host4 and Host6 stand for this host's loopback. The port of icmp is 0: only rules without a port are about
// it. The error says why, in one line.
func (p *Policy) Allow(proto string, to netip.AddrPort) error { return p.decide(proto, to, false) }

// Keep is Allow for a connection that is there already: it does not end because the name that led to it was looked up
// long ago.
func (p *Policy) Keep(proto string, to netip.AddrPort) error { return p.decide(proto, to, true) }

func (p *Policy) decide(proto string, to netip.AddrPort, late bool) error {
	a := to.Addr().WithZone("").Unmap()
	if p.mode == network.None {
		return errNone
	}
	if !a.IsValid() {
		return fmt.Errorf("no address")
	}
	all := forms(a)
	if err := p.Denied(proto, to); err != nil {
		return err
	}
	if a == address.Host4 || a == address.Host6 {
		if slices.Contains(p.hostPorts, to.Port()) {
			return nil
		}
		return fmt.Errorf("port %d of this host was not named by --host-port", to.Port())
	}
	if err := p.own(a, all); err != nil {
		return err
	}
	allowed, explicit := len(p.allow) == 0, false
	for _, r := range p.allow {
		if r.fits(proto, to.Port()) && p.about(r, a, late) {
			allowed, explicit = true, explicit || r.explicit()
		}
	}
	if !allowed {
		return fmt.Errorf("no rule allows %s", a)
	}
	if p.mode == network.Open || explicit {
		return nil
	}
	for _, form := range all {
		if place, found := in(innerPlaces, form); found {
			return refusal(a, form, place.is)
		}
	}
	return nil
}

// Denied refuses what a rule denies, and nothing else.
func (p *Policy) Denied(proto string, to netip.AddrPort) error {
	a := to.Addr().WithZone("").Unmap()
	for _, r := range p.deny {
		if r.fits(proto, to.Port()) && slices.ContainsFunc(forms(a), func(a netip.Addr) bool { return p.about(r, a, true) }) {
			return fmt.Errorf("%s is denied by %s", a, r)
		}
	}
	return nil
}

// own refuses what no rule opens: all, the forms of the address a, must lead elsewhere than to this host, to a group,
// or into the VM's own network.
func (p *Policy) own(a netip.Addr, all []netip.Addr) error {
	for _, form := range all {
		place, found := in(ownPlaces, form)
		if !found {
			place, found = in(guestPlaces, form)
		}
		if found {
			return refusal(a, form, place.is)
		}
		if slices.Contains(*p.host.Load(), form) {
			return refusal(a, form, "this host itself")
		}
	}
	return nil
}

// refusal says why a is refused: because form, itself or an address in it, is something.
func refusal(a, form netip.Addr, is string) error {
	if a != form {
		return fmt.Errorf("%s has %s in it, which is %s", a, form, is)
	}
	return fmt.Errorf("%s is %s", a, is)
}

// about reports whether r is about the address a, by itself or because the resolver gave it for a name of r's.
func (p *Policy) about(r Rule, a netip.Addr, late bool) bool {
	return r.covers(a) || r.domain != "" && p.learned.any(a, late, r.names)
}

// Opens reports whether a rule that allows leads to addresses that mode default refuses.
func (r Rule) Opens() bool {
	inside := func(a netip.Addr) bool { _, found := in(innerPlaces, a); return found }
	return r.explicit() && (!r.prefix.IsSingleIP() || slices.ContainsFunc(forms(r.prefix.Addr()), inside))
}

// explicit reports whether a rule names addresses that mode default refuses, so that it allows them: one address, or
// some that are all of one such range. "*" and 0.0.0.0/0 do not, and a domain does not: whoever answers for it could
// lead inside.
func (r Rule) explicit() bool {
	return r.prefix.IsValid() && (r.prefix.IsSingleIP() || within(innerPlaces, r.prefix))
}
