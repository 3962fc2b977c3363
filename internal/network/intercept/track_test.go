package intercept

import (
	"errors"
	"io"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"noid/internal/network/grant"
)

// stream is a host that says what next has, of each request. served counts those under way.
func stream(next chan string, served *sync.WaitGroup) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		defer served.Done()
		for {
			http.NewResponseController(w).Flush()
			select {
			case text := <-next:
				io.WriteString(w, text)
			case <-r.Context().Done():
				return
			}
		}
	}
}

// under has a request be under way, and returns its response.
func (w *world) under(http2 bool) *http.Response {
	w.t.Helper()
	resp, err := w.client(http2).Do(w.request("GET", "/", nil))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// TestCut ends requests under way when the policy refuses the address that was dialled, and when the right is lost; not
// when another secret or another value comes, of which the guest sees nothing.
func TestCut(t *testing.T) {
	both(t, func(t *testing.T, http2 bool) {
		next := make(chan string)
		var served sync.WaitGroup
		w := newWorld(t, stream(next, &served), nil)
		var refuse atomic.Bool
		w.o.Keep = func(to netip.AddrPort) error {
			if refuse.Load() && to.String() == w.server.Listener.Addr().String() {
				return errors.New("refused")
			}
			return nil
		}
		reads := func(resp *http.Response, want string) {
			t.Helper()
			got := make([]byte, len(want))
			if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != want {
				t.Errorf("%q, %v, want %q", got, err, want)
			}
		}
		resp := w.under(http2)
		if flows := w.Flows(); len(flows) != 1 || flows[0].Remote.String() != w.server.Listener.Addr().String() || flows[0].Sent == 0 || flows[0].Got == 0 {
			t.Errorf("%+v", flows)
		}
		const newValue, otherValue = "ghp_aaaabbbbccccddddeeeeffffgggghhhhiiii", "another-secret-12345"
		changed, other := w.grant, w.grant
		changed.Value, other.Secret, other.Value, other.Placeholder = newValue, "OTHER", otherValue, "placehold-secret-123"
		w.Set(w.authority, []grant.Grant{changed, other})
		if n := w.Recheck(); n != 0 {
			t.Errorf("%d cut", n)
		}
		next <- value + " " + newValue + " " + otherValue + "\n"
		reads(resp, w.grant.Placeholder+" "+w.grant.Placeholder+" "+other.Placeholder+"\n")
		refuse.Store(true)
		if n := w.Recheck(); n != 1 || len(w.Flows()) != 0 {
			t.Errorf("%d cut, left %v", n, w.Flows())
		}
		if _, err := io.ReadAll(resp.Body); err == nil {
			t.Error("the response has ended as if it were whole")
		}
		if resp := w.under(http2); resp.StatusCode != http.StatusBadGateway {
			t.Errorf("%s, while the address is refused", resp.Status)
		}
		refuse.Store(false)
		for name, now := range map[string]func(*grant.Grant){"revoked": nil, "other rules": func(g *grant.Grant) { g.Allow = []string{"GET /x"} }} {
			w.Set(w.authority, []grant.Grant{w.grant})
			served.Wait() // one that was cut hears of it: it would take the next word
			resp := w.under(http2)
			next <- "whole\n"
			reads(resp, "whole\n")
			g := w.grant
			if now == nil {
				w.Set(w.authority, nil)
			} else {
				now(&g)
				w.Set(w.authority, []grant.Grant{g})
			}
			if _, err := io.ReadAll(resp.Body); err == nil {
				t.Errorf("%s: the response has ended as if it were whole", name)
			}
		}
	})
}
