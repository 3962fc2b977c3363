package resolver

import (
	"net/netip"
	"strings"

	"github.com/miekg/dns"
)

// peerTTL is that of the names of other VMs, in seconds: they come and go.
const peerTTL = 5

// Peers are the VMs that the guest can reach. It is asked from many goroutines.
type Peers interface {
	// Find returns the addresses of the VM called name, in lower case and without a dot at its end, or none.
	Find(name string) []netip.Addr
}

// peer answers for the names of peers. Nil: it is no such name.
func peer(q *dns.Msg, peers Peers) *dns.Msg {
	question := q.Question[0]
	name := strings.ToLower(strings.TrimSuffix(question.Name, "."))
	addrs := peers.Find(name)
	if len(addrs) == 0 {
		return nil
	}
	m := failure(q, dns.RcodeSuccess)
	m.Authoritative = true
	head := dns.RR_Header{Name: question.Name, Rrtype: question.Qtype, Class: dns.ClassINET, Ttl: peerTTL}
	for _, a := range addrs {
		switch {
		case question.Qtype == dns.TypeA && a.Is4():
			m.Answer = append(m.Answer, &dns.A{Hdr: head, A: a.AsSlice()})
		case question.Qtype == dns.TypeAAAA && a.Is6():
			m.Answer = append(m.Answer, &dns.AAAA{Hdr: head, AAAA: a.AsSlice()})
		}
	}
	return m
}
