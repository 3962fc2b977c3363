package resolver

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// Conf is this host's list of resolvers.
type Conf struct {
	// Path is that of resolv.conf.
	Path string
	// Read, unless it is nil, reads it where this process may not.
	Read func() ([]byte, error)

	mu      sync.Mutex
	read    os.FileInfo
	servers []string
}

// Servers returns the resolvers that resolv.conf lists now, as "address:port".
func (c *Conf) Servers() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	info, err := os.Stat(c.Path)
	if err == nil && c.read != nil && os.SameFile(info, c.read) && info.ModTime().Equal(c.read.ModTime()) && info.Size() == c.read.Size() {
		return c.servers
	}
	data, err := os.ReadFile(c.Path)
	if errors.Is(err, os.ErrPermission) && c.Read != nil {
		data, err = c.Read()
	}
	var conf *dns.ClientConfig
	if err == nil {
		conf, err = dns.ClientConfigFromReader(bytes.NewReader(data))
	}
	switch {
	case err != nil && !errors.Is(err, os.ErrNotExist) && c.servers != nil:
		return c.servers // it is being replaced
	case err != nil || len(conf.Servers) == 0:
		conf = &dns.ClientConfig{Servers: []string{"127.0.0.1"}, Port: "53"} // resolv.conf(5)
	}
	c.read, c.servers = info, nil
	for _, server := range conf.Servers {
		c.servers = append(c.servers, net.JoinHostPort(server, conf.Port))
	}
	return c.servers
}

// ask asks this host's resolvers what the guest asks, one after the other. Nil: none of them answered. Each question
// has a random id and comes from a random port.
func (r *Resolver) ask(ctx context.Context, q *dns.Msg) (failed *dns.Msg) {
	m := new(dns.Msg)
	m.SetQuestion(q.Question[0].Name, q.Question[0].Qtype)
	m.RecursionDesired, m.CheckingDisabled, m.AuthenticatedData = true, q.CheckingDisabled, q.AuthenticatedData
	opt := q.IsEdns0()
	m.SetEdns0(maxUDP, opt != nil && opt.Do())
	servers := r.Conf.Servers()
	for range tries {
		for _, server := range servers {
			if ctx.Err() != nil {
				return failed
			}
			m.Id = dns.Id()
			in := exchange(ctx, m, server, "udp")
			if in != nil && in.Truncated {
				in = exchange(ctx, m, server, "tcp")
			}
			switch {
			case in == nil:
			case in.Rcode == dns.RcodeSuccess || in.Rcode == dns.RcodeNameError:
				return in
			default:
				failed = in // the next one may know better
			}
		}
		if failed != nil {
			return failed
		}
	}
	return nil
}

// exchange asks one resolver. Nil is no answer, or one to another question.
func exchange(ctx context.Context, m *dns.Msg, server, proto string) *dns.Msg {
	ctx, cancel := context.WithTimeout(ctx, tryWait)
	defer cancel()
	client := dns.Client{Net: proto, Timeout: tryWait}
	in, _, err := client.ExchangeContext(ctx, m, server)
	if err != nil || in == nil || !answers(in, m) {
		return nil
	}
	return in
}

// answers reports whether in is an answer to m.
func answers(in, m *dns.Msg) bool {
	if !in.Response || in.Id != m.Id || in.Opcode != dns.OpcodeQuery || len(in.Question) != 1 {
		return false
	}
	a, b := in.Question[0], m.Question[0]
	return a.Qtype == b.Qtype && a.Qclass == b.Qclass && strings.EqualFold(a.Name, b.Name)
}
