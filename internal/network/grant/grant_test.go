package grant

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"

	"noid/internal/errs"
)

// TestPlaceholder has the value's length and alphabet, keeps what everybody knows of a token, and is another each time.
func TestPlaceholder(t *testing.T) {
	for _, tt := range []struct{ value, kept string }{
		{"ghp_16C7e42F292c6912E7710c838347Ae178B4a", "ghp_"},
		{"sk-ant-api03-AbCd_efgh-1234", "sk-ant-"},
		{"0123456789abcdef0123", ""},
		{"my-secret-password-1", ""},
		{"sk-1234567", ""}, // too little would be left
	} {
		if err := CheckValue(tt.value); err != nil {
			t.Fatal(err)
		}
		got := NewPlaceholder(tt.value)
		if len(got) != len(tt.value) || got == tt.value || got == NewPlaceholder(tt.value) || !strings.HasPrefix(got, tt.kept) {
			t.Errorf("%s: %s", tt.value, got)
		}
		isHex := strings.Trim(tt.value, hex) == ""
		for i := range got {
			a, b := class(tt.value[i]), class(got[i])
			if a != b && !(isHex && strings.IndexByte(hex, got[i]) >= 0) || a == 0 && got[i] != tt.value[i] {
				t.Errorf("%s: %s differs in kind at %d", tt.value, got, i)
			}
		}
		if tt.kept == "" && got[:4] == tt.value[:4] && letters(got[:4]) == 4 {
			t.Errorf("%s: %s begins alike", tt.value, got)
		}
	}
}

func class(c byte) int {
	return slices.IndexFunc([]string{lower, upper, digits}, func(set string) bool { return strings.IndexByte(set, c) >= 0 }) + 1
}

func TestCheckValue(t *testing.T) {
	for _, value := range []string{"", "short12", "--------------", "two\nlines-of-text", "nul\x00nulnulnul", " blank-before", "ünïcödé-12345678", strings.Repeat("a", MaxValue+1)} {
		if err := CheckValue(value); !errors.Is(err, errs.ErrUsage) || value != "" && strings.Contains(err.Error(), value) {
			t.Errorf("%q: %v", value, err)
		}
	}
}

func TestCheckRules(t *testing.T) {
	r := Rules{Hosts: []string{"API.example.com:443", "b.example:8443"}, Header: "X-Key: {}", Allow: []string{"GET,HEAD /repos/**", "* /v1/*"}}
	if err := r.Check(); err != nil || !slices.Equal(r.Hosts, []string{"api.example.com", "b.example:8443"}) {
		t.Errorf("%v, %v", r.Hosts, err)
	}
	if g := (Grant{Rules: r}); !g.For("b.example", 8443) || g.For("b.example", 443) || !g.For("api.example.com", 443) {
		t.Error("For does not tell hosts apart")
	}
	for _, r := range []Rules{
		{}, {Hosts: []string{"https://x.example"}}, {Hosts: []string{"*.example.com"}}, {Hosts: []string{"10.0.0.1"}}, {Hosts: []string{"x:0"}}, {Hosts: []string{"x:y"}},
		{Hosts: []string{"a b"}}, {Hosts: []string{"x."}}, {Hosts: []string{"x"}, Header: "Authorization: Bearer"}, {Hosts: []string{"x"}, Header: "A: {}\r\nB: c"},
		{Hosts: []string{"x"}, Header: "Host: {}"}, {Hosts: []string{"x"}, Header: ": {}"}, {Hosts: []string{"x"}, Allow: []string{"/repos"}},
		{Hosts: []string{"x"}, Allow: []string{"GET repos"}}, {Hosts: []string{"x"}, Allow: []string{"GET /a/../b"}}, {Hosts: []string{"x"}, Allow: []string{"GET /a**"}},
		{Hosts: []string{"x"}, Allow: []string{"GET, /a"}}, {Hosts: []string{"x"}, Allow: []string{"GET /[a"}},
	} {
		if err := r.Check(); !errors.Is(err, errs.ErrUsage) {
			t.Errorf("%+v: %v", r, err)
		}
	}
}

func TestAllows(t *testing.T) {
	r := Rules{Allow: []string{"GET /repos/**", "POST,PUT /a/*/c", "* /x"}}
	for _, tt := range []struct {
		method, path string
		want         bool
	}{
		{"GET", "/repos", true}, {"GET", "/repos/", true}, {"GET", "/repos/a/b", true}, {"GET", "/repos/a%2Fb", true}, {"GET", "/repos/a%20b", true},
		{"POST", "/repos/a", false}, {"HEAD", "/repos/a", false}, {"get", "/repos/a", false}, {"GET", "/reposx", false}, {"GET", "/", false}, {"GET", "*", false}, {"GET", "", false},
		{"POST", "/a/b/c", true}, {"PUT", "/a/b/c", true}, {"POST", "/a/b/d/c", false}, {"POST", "/a/c", false}, {"POST", "/a//c", false}, {"GET", "/repos//a", false},
		{"DELETE", "/x", true}, {"DELETE", "/x/y", false},
		{"GET", "/repos/../user", false}, {"GET", "/repos/%2e%2e/user", false}, {"GET", "/repos/..%2fuser", false}, {"GET", "/repos/%252e%252e/user", false},
		{"GET", "/repos/..;/user", false}, {"GET", "/repos/..%5cuser", false}, {"GET", "/repos/./a", false}, {"GET", "//repos/a", false},
		{"GET", "/repos/" + strings.Repeat("a/", 50000), true},
	} {
		if got := r.Allows(tt.method, tt.path); got != tt.want {
			t.Errorf("%s %.60s: %v", tt.method, tt.path, got)
		}
	}
	if !(Rules{}).Allows("ANY", "/../x") {
		t.Error("without patterns all is allowed")
	}
}

// TestForms finds the value in the base64 of anything around it, and masks it there with as many bytes.
func TestForms(t *testing.T) {
	g := Grant{Value: "s3cr3t>>>value???1234", Placeholder: NewPlaceholder("s3cr3t>>>value???1234")}
	for before := range 7 {
		for after := range 4 {
			text := strings.Repeat("u", before) + g.Value + strings.Repeat(":", after)
			for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
				encoded, found := enc.EncodeToString([]byte(text)), 0
				for _, pair := range g.Masks() {
					if len(pair[0]) != len(pair[1]) || pair[0] == pair[1] {
						t.Fatalf("%q", pair)
					}
					found += strings.Count(encoded, pair[0])
				}
				if found == 0 {
					t.Errorf("%s is not found in %s", g.Value, encoded)
				}
			}
		}
	}
	if long := (Grant{Value: g.Value, Placeholder: "other"}); len(long.Masks()[0][1]) != len(g.Value) {
		t.Error("a mask of another length")
	}
}
