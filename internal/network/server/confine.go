package server

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"noid/internal/confine"
	"noid/internal/network"
)

// trusted is where this host has the certificates of authorities that it trusts. /etc/ssl itself has private keys.
var trusted = []string{"/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/ssl/ca-bundle.pem", "/etc/pki/tls/certs", "/etc/pki/tls/cacert.pem", "/etc/pki/tls/cert.pem",
	"/etc/pki/ca-trust/extracted", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates", "/var/lib/ca-certificates"}

// confine takes from this process what it does not need, before it looks at anything of the guest's.
func (s *Server) confine() error {
	// The VM's directory, where the configuration is, and the VMM's in /proc, which tells whether it lives.
	read := []string{".", "/proc/self", "/proc/" + strconv.Itoa(s.vmm.PID), resolvConf, "/etc/hosts"}
	// resolv.conf is replaced by a rename, so its directory has to be readable: not /etc for root, who could read its
	// secrets there. What is there then comes by confFD.
	target, err := filepath.EvalSymlinks(resolvConf)
	if err == nil && filepath.Dir(target) != private {
		read = append(read, filepath.Dir(target))
	}
	if os.Geteuid() != 0 {
		read = append(read, filepath.Dir(resolvConf))
	}
	read = append(read, trusted...)
	for _, name := range []string{"SSL_CERT_FILE", "SSL_CERT_DIR"} { // crypto/x509 reads what they name
		for path := range strings.SplitSeq(os.Getenv(name), ":") {
			if path != "" {
				read = append(read, path)
			}
		}
	}
	access := confine.Access{Dir: network.HelperDir, Read: read}
	if s.peers != nil {
		access.Sockets = s.peers.dir
	}
	return confine.Self(access)
}
