package grant

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"noid/internal/errs"
)

// pattern is one of Rules.Allow: methods, none for all, and the elements of a path.
type pattern struct {
	methods  []string
	elements []string
}

// parsePattern reads "GET /repos/**", "GET,HEAD /user" or "* /v1/*/x".
func parsePattern(text string) (pattern, error) {
	bad := func(why string) error {
		return errs.New(errs.ErrUsage, "not a pattern of requests: %q: %s", text, why).
			Hint("write 'GET /repos/**': a method, several with commas between, or *; then a path, in which * is one element and ** any number")
	}
	method, p, _ := strings.Cut(text, " ")
	p = strings.TrimSpace(p)
	switch {
	case strings.HasPrefix(text, "/"):
		return pattern{}, bad("it has no method")
	case !strings.HasPrefix(p, "/"):
		return pattern{}, bad("its path does not begin with /")
	case !printable(p) || strings.ContainsAny(p, " ?#%\\"):
		return pattern{}, bad("its path has more in it than a path's own characters, unescaped")
	}
	made := pattern{elements: strings.Split(p[1:], "/")}
	if method != "*" {
		made.methods = strings.Split(strings.ToUpper(method), ",")
		if strings.Trim(method, upper+lower+",-") != "" || slices.Contains(made.methods, "") {
			return pattern{}, bad("no such method")
		}
	}
	for _, e := range made.elements {
		if _, err := path.Match(e, ""); err != nil || e == "." || e == ".." || e != "**" && strings.Contains(e, "**") {
			return pattern{}, bad(fmt.Sprintf("no path has %q between its slashes", e))
		}
	}
	return made, nil
}

// Allows reports whether a request for the path, as it is escaped in the request's first line, gets the value. A path that
// a server may take for another one, because of .. or of what is escaped in it, is allowed by no pattern.
func (r Rules) Allows(method, escaped string) bool {
	if len(r.Allow) == 0 {
		return true
	}
	elements, ok := elementsOf(escaped)
	return ok && slices.ContainsFunc(r.Allow, func(text string) bool {
		p, err := parsePattern(text)
		return err == nil && (p.methods == nil || slices.Contains(p.methods, method)) && match(p.elements, elements)
	})
}

// elementsOf takes a path apart at its slashes, and unescapes what is between. Only the last may be empty: many servers
// take several slashes for one.
func elementsOf(escaped string) (elements []string, ok bool) {
	rest, ok := strings.CutPrefix(escaped, "/")
	if !ok {
		return nil, false
	}
	for e := range strings.SplitSeq(rest, "/") {
		e, err := url.PathUnescape(e)
		low := strings.ToLower(e)
		// What is still escaped was escaped twice.
		if err != nil || strings.ContainsAny(e, "\\\x00;?#") || strings.Contains(low, "%2e") || strings.Contains(low, "%2f") || strings.Contains(low, "%5c") {
			return nil, false
		}
		for part := range strings.SplitSeq(e, "/") {
			if part == "." || part == ".." {
				return nil, false
			}
		}
		if len(elements) > 0 && elements[len(elements)-1] == "" {
			return nil, false
		}
		elements = append(elements, e)
	}
	return elements, true
}

// match reports whether elements are as wanted. Its time is bounded by the product of their lengths.
func match(wanted, elements []string) bool {
	fits := make([]bool, len(elements)+1) // fits[n]: what is wanted so far matches the first n elements
	fits[0] = true
	for _, w := range wanted {
		next := make([]bool, len(fits))
		for n := range fits {
			if w == "**" {
				next[n] = fits[n] || n > 0 && next[n-1]
			} else if n > 0 && fits[n-1] {
				next[n], _ = path.Match(w, elements[n-1])
			}
		}
		fits = next
	}
	return fits[len(elements)]
}
