// Package grant says what a VM may do with a secret, and knows a secret's value by sight. The guest has a placeholder;
// the network helper alone has the value.
package grant

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"noid/internal/errs"
	"noid/internal/lazy"
)

// Rules are what a secret is for.
type Rules struct {
	Hosts []string `json:"hosts"` // names in lower case, with a port unless it is 443
	// Header, as in "Authorization: Bearer {}", is set in each request, and is then the only place for the value.
	Header string `json:"header,omitempty"`
	// Allow are the requests that get the value, as in "GET /repos/**"; none means all.
	Allow []string `json:"allow,omitempty"`
	Body  bool     `json:"body,omitempty"` // the placeholder is replaced in the bodies of requests too
}

// Grant is a secret that a VM may use. It is in memory, and on the control socket of the VM's helper, never in a file.
type Grant struct {
	Secret string `json:"secret"` // its name, and that of the variable in the guest
	Rules
	Placeholder string `json:"placeholder"`
	Value       string `json:"value"`
}

// MaxValue bounds a secret's value, in bytes. MaxGrants bounds a VM's secrets, maxRules the hosts and patterns of one.
const (
	MaxValue  = 4096
	MaxGrants = 64
	maxRules  = 64
)

// DefaultPort is the port of a host without one.
const DefaultPort = 443

// Host splits a host of Rules.
func Host(host string) (name string, port uint16) {
	name, text, found := strings.Cut(host, ":")
	if n, err := strconv.ParseUint(text, 10, 16); found && err == nil {
		return name, uint16(n)
	}
	return name, DefaultPort
}

// For reports whether g is for the host name, in lower case, at port.
func (g Grant) For(name string, port uint16) bool {
	return slices.ContainsFunc(g.Hosts, func(h string) bool {
		n, p := Host(h)
		return n == name && p == port
	})
}

// Check accepts rules that make sense, and brings their hosts into lower case. What it refuses is errs.ErrUsage.
func (r *Rules) Check() error {
	if len(r.Hosts) == 0 {
		return errs.New(errs.ErrUsage, "a secret needs a host").Hint("--host api.example.com names one that gets the value; it may be repeated")
	}
	if len(r.Hosts) > maxRules || len(r.Allow) > maxRules {
		return errs.New(errs.ErrUsage, "a secret has at most %d hosts and %d patterns", maxRules, maxRules)
	}
	for i, host := range r.Hosts {
		name, port, found := strings.Cut(strings.ToLower(host), ":")
		n, err := strconv.ParseUint(port, 10, 16)
		if !isHostName(name) || net.ParseIP(name) != nil || found && (err != nil || n == 0) {
			return errs.New(errs.ErrUsage, "not a host for a secret: %q", host).Hint("write api.example.com or api.example.com:8443; no URL, no address, no *")
		}
		r.Hosts[i] = name
		if found && n != DefaultPort {
			r.Hosts[i] = fmt.Sprintf("%s:%d", name, n)
		}
	}
	for _, pattern := range r.Allow {
		if _, err := parsePattern(pattern); err != nil {
			return err
		}
	}
	return r.checkHeader()
}

func isHostName(s string) bool {
	return len(s) <= 253 && s != "" && !slices.ContainsFunc(strings.Split(s, "."), func(label string) bool {
		return label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != ""
	})
}

// notHeaders frame a request or say where it goes: noid writes them itself.
var notHeaders = []string{"host", "connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade", "expect", "accept-encoding"}

func (r *Rules) checkHeader() error {
	if r.Header == "" {
		return nil
	}
	name, text, found := strings.Cut(r.Header, ":")
	name = strings.ToLower(name)
	why := ""
	switch {
	case !found:
		why = "it has no colon behind its name"
	case name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "":
		why = "its name is none of a header"
	case slices.Contains(notHeaders, name):
		why = "noid writes this one itself"
	case strings.Count(text, "{}") != 1:
		why = "{} is not in it once"
	case !printable(text):
		why = "it has other than printable ASCII in it"
	default:
		return nil
	}
	return errs.New(errs.ErrUsage, "not a header for a secret: %q: %s", r.Header, why).Hint("write 'Authorization: Bearer {}': {} stands for the value")
}

// SetHeader is the header of Rules with value in it; "" if it has none.
func (r Rules) SetHeader(value string) (name, text string) {
	name, text, _ = strings.Cut(r.Header, ":")
	return name, strings.Replace(strings.TrimSpace(text), "{}", value, 1)
}

var escape = lazy.Regexp("%[0-9A-F]{2}")

// Forms are what a value looks like where it was copied or encoded: as it is, in a URL, in JSON, and in base64 wherever it stands
// in what was encoded. All differ.
func Forms(value string) []string {
	forms := []string{value}
	add := func(form string) {
		if !slices.Contains(forms, form) {
			forms = append(forms, form)
		}
	}
	for _, form := range []string{url.QueryEscape(value), url.PathEscape(value), strings.ReplaceAll(url.QueryEscape(value), "%2F", "/")} {
		add(form)
		add(escape().ReplaceAllStringFunc(form, strings.ToLower))
	}
	add(strings.ReplaceAll(value, "/", `\/`)) // JSON
	for _, core := range base64Cores(value) {
		add(core)
		add(strings.NewReplacer("+", "-", "/", "_").Replace(core))
	}
	return forms
}

// base64Cores are the digits of value's base64 that depend on value alone, with none, one and two bytes before it.
func base64Cores(value string) (cores [3]string) {
	for before := range cores {
		digits := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("\x00", before) + value))
		cores[before] = digits[(8*before+5)/6 : 8*(before+len(value))/6]
	}
	return cores
}

// Masks pairs each of the Forms of g's value with what a guest may see instead: as many bytes, made of the placeholder.
func (g Grant) Masks() (pairs [][2]string) {
	placeholder := fit(g.Placeholder, len(g.Value))
	masks := base64Cores(placeholder)
	for i, form := range Forms(g.Value) {
		mask := fit(placeholder, len(form))
		for n, core := range base64Cores(g.Value) {
			if form == core {
				mask = masks[n]
			}
		}
		if i == 0 {
			mask = placeholder
		}
		pairs = append(pairs, [2]string{form, mask})
	}
	return pairs
}

// fit repeats or cuts s to n bytes.
func fit(s string, n int) string {
	if s == "" {
		s = "*"
	}
	return strings.Repeat(s, n/len(s)+1)[:n]
}
