package policy

import (
	"container/list"
	"net/netip"
	"sync"
	"time"

	"noid/internal/network"
)

// The bounds of what is learned: a guest may ask for any number of names.
const (
	maxNames     = 4096
	maxAddresses = 64   // of a name
	maxTotal     = 8192 // addresses of all names
	// Programs keep an address for longer than DNS says, but not for ever.
	minLife = 5 * time.Minute
	maxLife = 24 * time.Hour
)

// learned is which names the resolver gave which addresses for. It forgets the names that were used longest ago.
type learned struct {
	mu    sync.Mutex
	now   func() time.Time
	names map[string]*list.Element // of *name
	order list.List                // of *name, the one used last first
	at    map[netip.Addr]map[*name]bool
	total int // addresses, once for each name
}

// name is a domain name, and until when it stands for its addresses.
type name struct {
	text  string
	until map[netip.Addr]time.Time
}

func newLearned() *learned {
	return &learned{now: time.Now, names: map[string]*list.Element{}, at: map[netip.Addr]map[*name]bool{}}
}

// slack is how much longer something counts than it must: so a name that is asked for again and again is news once in
// that time, not each time.
const slack = time.Minute

// end is until when something counts that DNS says for ttl.
func (l *learned) end(ttl time.Duration) time.Time {
	return l.now().Add(min(max(ttl, minLife), maxLife) + slack).Round(0) // as the wall's clock has it
}

// learn notes that text stands for addrs until a time, and reports whether it did not know.
func (l *learned) learn(text string, addrs []netip.Addr, until time.Time) (news bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.names[text]
	if e == nil {
		e = l.order.PushFront(&name{text: text, until: map[netip.Addr]time.Time{}})
		l.names[text] = e
	}
	l.order.MoveToFront(e)
	n := e.Value.(*name)
	for _, a := range addrs[:min(len(addrs), maxAddresses)] {
		a = a.WithZone("").Unmap()
		if _, known := n.until[a]; !known && len(n.until) >= maxAddresses {
			l.drop(n, n.oldest())
		}
		if before, known := n.until[a]; !known {
			l.total++
			news = true
		} else if until.Sub(before) < slack {
			continue
		}
		news, n.until[a] = true, until
		if l.at[a] == nil {
			l.at[a] = map[*name]bool{}
		}
		l.at[a][n] = true
	}
	for l.order.Len() > maxNames || l.total > maxTotal && l.order.Len() > 1 {
		last := l.order.Remove(l.order.Back()).(*name)
		for a := range last.until {
			l.drop(last, a)
		}
		delete(l.names, last.text)
	}
	return news
}

// list returns the names that ok holds for, the one used longest ago first.
func (l *learned) list(ok func(name string) bool) (all []network.Name) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for e := l.order.Back(); e != nil; e = e.Prev() {
		n := e.Value.(*name)
		if !ok(n.text) {
			continue
		}
		ends := map[time.Time][]netip.Addr{}
		for a, until := range n.until {
			ends[until] = append(ends[until], a)
		}
		for until, addrs := range ends {
			all = append(all, network.Name{Name: n.text, Until: until, Addrs: addrs})
		}
	}
	return all
}

// oldest is the address that ends first.
func (n *name) oldest() (first netip.Addr) {
	for a, until := range n.until {
		if !first.IsValid() || until.Before(n.until[first]) {
			first = a
		}
	}
	return first
}

func (l *learned) drop(n *name, a netip.Addr) {
	delete(n.until, a)
	l.total--
	if delete(l.at[a], n); len(l.at[a]) == 0 {
		delete(l.at, a)
	}
}

// any reports whether a name that stands for a satisfies ok. With late, one counts that did so once.
func (l *learned) any(a netip.Addr, late bool, ok func(name string) bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	for n := range l.at[a] {
		if (late || now.Before(n.until[a])) && ok(n.text) {
			l.order.MoveToFront(l.names[n.text])
			return true
		}
	}
	return false
}
