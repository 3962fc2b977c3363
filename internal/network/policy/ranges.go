package policy

import (
	"net/netip"

	"noid/internal/network/address"
)

// place is a range of addresses that is not the internet, and what it is.
type place struct {
	prefix netip.Prefix
	is     string
}

func places(is string, prefixes ...string) (list []place) {
	for _, p := range prefixes {
		list = append(list, place{netip.MustParsePrefix(p), is})
	}
	return list
}

func join(lists ...[]place) (all []place) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// ownPlaces lead to this host, or to all at once, in every mode. A datagram to a group comes back to the host's own
// servers, and a connection to the unspecified address too.
var ownPlaces = join(
	places("this host itself", "0.0.0.0/8", "127.0.0.0/8", "::/128", "::1/128"),
	places("a multicast group", "224.0.0.0/4", "ff00::/8"),
	places("a broadcast", "255.255.255.255/32"),
)

// guestPlaces are the network that a guest sees. What answers there answers without being dialled.
var guestPlaces = places("the vm's own network", address.Guest4.Masked().String(), address.Guest6.Masked().String())

// innerPlaces are what mode default refuses beside them: what the registries of IANA have for special purposes, and what
// clouds have elsewhere. Of IPv6, 2000::/3 is the internet.
var innerPlaces = join(
	places("", "64:ff9b::/96"), // the internet's NAT64: it is as what is in it
	places("a private network", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
	places("link-local", "169.254.0.0/16", "fe80::/10"),
	places("a provider's own network", "100.64.0.0/10"),
	places("the cloud's platform", "168.63.129.16/32"),
	places("site-local", "fec0::/10"),
	places("a NAT64 of this network", "64:ff9b:1::/48"),
	places("a documentation range", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20"),
	places("a benchmark range", "198.18.0.0/15", "2001:2::/48"),
	places("a reserved range", "192.0.0.0/24", "192.88.99.0/24", "240.0.0.0/4", "2001::/23"),
	places("not of the internet", "::/3", "4000::/2", "8000::/1"),
)

// in returns the first place of list that a is in. One without a word is none.
func in(list []place, a netip.Addr) (place, bool) {
	for _, p := range list {
		if p.prefix.Contains(a) {
			return p, p.is != ""
		}
	}
	return place{}, false
}

// within reports whether all of prefix is in one place of list.
func within(list []place, prefix netip.Prefix) bool {
	p, found := in(list, prefix.Addr())
	return found && p.prefix.Bits() <= prefix.Bits()
}
