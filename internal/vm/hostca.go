package vm

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"noid/internal/errs"
	"noid/internal/network"
)

// added is where an administrator adds authorities to those of the distribution: Debian's and Alpine's, Red Hat's,
// Arch's, SUSE's.
var added = []string{"/usr/local/share/ca-certificates", "/etc/pki/ca-trust/source/anchors", "/etc/ca-certificates/trust-source/anchors", "/etc/pki/trust/anchors"}

const (
	// maxAuthorities bounds how many of this host's authorities a guest is given, maxAuthorityFile a file of them, in
	// bytes.
	maxAuthorities   = 64
	maxAuthorityFile = 1 << 20
)

// hostAuthorities are those that a guest is to trust of this host's: which is network.Config.HostCA. None is an error.
func hostAuthorities(which string) (list []*x509.Certificate, err error) {
	if which == "" {
		return nil, nil
	}
	if which != network.HostCerts {
		list, err = readAuthorities(which)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, errs.New(errs.ErrNotFound, "authorities for the guest: %w", err).Hint(caHint)
		}
	} else {
		for _, dir := range added {
			filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
				if more, err := readAuthorities(path); err == nil { // what else is there, nobody trusts
					list = append(list, more...)
				}
				return nil
			})
		}
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("authorities for the guest: %w", err)
	case len(list) == 0:
		return nil, errs.New(errs.ErrNotFound, "authorities for the guest: there are none in %s", which).Hint(caHint)
	case len(list) > maxAuthorities:
		return nil, errs.New(errs.ErrUsage, "authorities for the guest: more than %d in %s", maxAuthorities, which)
	}
	return list, nil
}

const caHint = "--host-ca FILE names a file with certificates of authorities, as PEM"

// readAuthorities returns the certificates of authorities in a regular file.
func readAuthorities(path string) (list []*x509.Certificate, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxAuthorityFile {
		return nil, errs.New(errs.ErrUsage, "%s is no file with certificates", path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			return list, nil
		}
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil && block.Type == "CERTIFICATE" && cert.IsCA {
			list = append(list, cert)
		}
		data = rest
	}
}
