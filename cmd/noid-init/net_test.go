//go:build linux

package main

import "testing"

// TestNamesNobody tells which resolv.conf of an image leads to no server in a VM.
func TestNamesNobody(t *testing.T) {
	for _, c := range []struct {
		text         string
		alone, inits bool // whether nobody answers, where the agent is init, and where the image has one
	}{
		{"# made by docker\nnameserver 127.0.0.11\noptions ndots:0\n", true, true},
		{"nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n", true, true},
		{"nameserver\t127.0.0.1 # mine\n", true, false},
		{"nameserver ::1", true, false},
		{"search example.com\n", true, false},
		{"nameserver 127.0.0.1\nnameserver 127.0.0.53\n", true, true},
		{"nameserver 127.0.0.53\nnameserver 9.9.9.9\n", false, false},
		{"nameserver 192.168.65.7\n", false, false},
		{"nameserver fe80::1%eth0\n", false, false},
		{"nameserver nonsense\n", true, true},
	} {
		if a, i := namesNobody(c.text, true), namesNobody(c.text, false); a != c.alone || i != c.inits {
			t.Errorf("%q: %v and %v", c.text, a, i)
		}
	}
}
