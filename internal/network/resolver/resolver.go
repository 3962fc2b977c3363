// Package resolver answers the guest's DNS queries by asking this host's resolvers, and tells the policy what it
// answered: rules about a domain hold for the addresses that the guest was told.
package resolver

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"noid/internal/network/address"
)

const (
	// tryWait bounds one try at one of the host's resolvers, tries is how often all of them are asked.
	tryWait = 4 * time.Second
	tries   = 2
	// maxUDP bounds an answer by UDP in bytes (RFC 9715), minUDP is what every client takes.
	maxUDP, minUDP = 1232, dns.MinMsgSize
	// maxAliases bounds the aliases that lead from a name to its addresses.
	maxAliases = 16
	// ownTTL is that of noid's own names, in seconds.
	ownTTL = 60
)

// zone has noid's own names.
const zone = "noid.internal."

// Policy is what a resolver asks and tells. It is used from many goroutines.
type Policy interface {
	// Resolve returns nil, or in one line why the guest may not ask for name.
	Resolve(name string) error
	// Learn is told the addresses of name before the guest is. name is what the guest asked for.
	Learn(name string, addrs []netip.Addr, ttl time.Duration)
}

// Resolver answers the queries of one guest.
type Resolver struct {
	// Policy returns the policy of now.
	Policy func() Policy
	// Refused is told of each name that the policy refuses. It must not block.
	Refused func(name string, why error)
	// Plain reports whether the guest must connect to name by its addresses alone: it is told of no other ways, as
	// HTTP/3 and an encrypted server name, which go past the interception. Nil: to none.
	Plain func(name string) bool
	// Conf is this host's resolv.conf. It is read again when it changes.
	Conf Conf
}

// Answer returns the answer to a query, or nil if it is none. proto, tcp or udp, is how it came. It blocks until this
// host's resolvers have answered, a few seconds at most, or ctx ends.
func (r *Resolver) Answer(ctx context.Context, query []byte, proto string) []byte {
	return r.answer(ctx, query, proto, nil)
}

// AnswerBeside returns Answer for a guest with these peers: their names are nobody else's to answer for.
func (r *Resolver) AnswerBeside(p Peers) func(ctx context.Context, query []byte, proto string) []byte {
	return func(ctx context.Context, query []byte, proto string) []byte { return r.answer(ctx, query, proto, p) }
}

// answer is Answer beside peers, or with nil for none.
func (r *Resolver) answer(ctx context.Context, query []byte, proto string, peers Peers) []byte {
	q := new(dns.Msg)
	if err := q.Unpack(query); err != nil || q.Response {
		return malformed(query)
	}
	answer := r.reply(ctx, q, peers)
	size := dns.MaxMsgSize
	if proto == "udp" {
		size = minUDP
		if opt := q.IsEdns0(); opt != nil {
			size = min(max(int(opt.UDPSize()), minUDP), maxUDP)
		}
	}
	answer.Truncate(size)
	answer.Compress = true
	out, err := answer.Pack()
	// A hostile server's records may not fit, or be without fields: such a one is packed, and nobody can read it.
	if err != nil || len(out) > size || new(dns.Msg).Unpack(out) != nil {
		if out, err = failure(q, dns.RcodeServerFailure).Pack(); err != nil {
			return nil
		}
	}
	return out
}

// malformed answers what cannot be read, if at least its header can.
func malformed(query []byte) []byte {
	if len(query) < 12 || query[2]&0x80 != 0 {
		return nil
	}
	out := make([]byte, 12)
	copy(out, query[:2])
	out[2], out[3] = 0x80|query[2]&0x79, dns.RcodeFormatError // opcode and RD as they were
	return out
}

func failure(q *dns.Msg, code int) *dns.Msg {
	m := new(dns.Msg)
	m.SetRcode(q, code)
	m.RecursionAvailable = true
	if opt := q.IsEdns0(); opt != nil {
		m.SetEdns0(maxUDP, opt.Do())
	}
	return m
}

func (r *Resolver) reply(ctx context.Context, q *dns.Msg, peers Peers) *dns.Msg {
	switch {
	case q.Opcode != dns.OpcodeQuery:
		return failure(q, dns.RcodeNotImplemented)
	case len(q.Question) != 1:
		return failure(q, dns.RcodeFormatError)
	}
	question := q.Question[0]
	switch question.Qtype {
	case dns.TypeAXFR, dns.TypeIXFR, dns.TypeANY:
		return failure(q, dns.RcodeRefused)
	}
	if question.Qclass != dns.ClassINET {
		return failure(q, dns.RcodeRefused)
	}
	if name := strings.ToLower(question.Name); dns.IsSubDomain(zone, name) {
		return own(q, name)
	}
	if peers != nil {
		if m := peer(q, peers); m != nil {
			return m
		}
	}
	policy := r.Policy()
	if err := policy.Resolve(question.Name); err != nil {
		if r.Refused != nil {
			r.Refused(question.Name, err)
		}
		return failure(q, dns.RcodeRefused)
	}
	if r.withholds(question) {
		return failure(q, dns.RcodeSuccess)
	}
	in := r.ask(ctx, q)
	if in == nil {
		return failure(q, dns.RcodeServerFailure)
	}
	out := failure(q, in.Rcode)
	out.Answer, out.Ns = in.Answer, in.Ns
	out.AuthenticatedData = in.AuthenticatedData && q.AuthenticatedData
	if addrs, ttl := addresses(question.Name, in.Answer); len(addrs) > 0 {
		r.Policy().Learn(question.Name, addrs, ttl)
	}
	return out
}

// withholds reports whether a question is about other ways to a name of Plain (RFC 9460): api.example.com itself, or
// _8443._https.api.example.com.
func (r *Resolver) withholds(q dns.Question) bool {
	if r.Plain == nil || q.Qtype != dns.TypeHTTPS && q.Qtype != dns.TypeSVCB {
		return false
	}
	name := strings.ToLower(strings.TrimSuffix(q.Name, "."))
	for strings.HasPrefix(name, "_") && strings.Contains(name, ".") && !r.Plain(name) {
		_, name, _ = strings.Cut(name, ".")
	}
	return r.Plain(name)
}

// own answers for noid's own names.
func own(q *dns.Msg, name string) *dns.Msg {
	if name != address.HostName+"." {
		return failure(q, dns.RcodeNameError)
	}
	m := failure(q, dns.RcodeSuccess)
	m.Authoritative = true
	head := dns.RR_Header{Name: q.Question[0].Name, Rrtype: q.Question[0].Qtype, Class: dns.ClassINET, Ttl: ownTTL}
	switch head.Rrtype {
	case dns.TypeA:
		m.Answer = []dns.RR{&dns.A{Hdr: head, A: address.Host4.AsSlice()}}
	case dns.TypeAAAA:
		m.Answer = []dns.RR{&dns.AAAA{Hdr: head, AAAA: address.Host6.AsSlice()}}
	}
	return m
}

// addresses returns those that records give for name, itself or by aliases, and how long they hold.
func addresses(name string, records []dns.RR) (addrs []netip.Addr, ttl time.Duration) {
	seconds := uint32(1<<32 - 1)
	names := []string{dns.CanonicalName(name)}
	for again := true; again && len(names) <= maxAliases; {
		again = false
		for _, rr := range records {
			c, ok := rr.(*dns.CNAME)
			if ok && slices.Contains(names, dns.CanonicalName(c.Hdr.Name)) && !slices.Contains(names, dns.CanonicalName(c.Target)) {
				names, again = append(names, dns.CanonicalName(c.Target)), true
				seconds = min(seconds, c.Hdr.Ttl)
				break
			}
		}
	}
	for _, rr := range records {
		var ip net.IP
		switch a := rr.(type) {
		case *dns.A:
			ip = a.A
		case *dns.AAAA:
			ip = a.AAAA
		}
		if a, ok := netip.AddrFromSlice(ip); ok && slices.Contains(names, dns.CanonicalName(rr.Header().Name)) {
			addrs = append(addrs, a.Unmap())
			seconds = min(seconds, rr.Header().Ttl)
		}
	}
	return addrs, time.Duration(seconds) * time.Second
}
