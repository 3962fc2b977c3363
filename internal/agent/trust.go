package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// What Trust leaves in the guest. noid's package secret names the same files to the guest's programs.
const (
	TrustedAuthority = "/etc/ssl/noid-ca.pem"     // those that noid has added
	TrustedBundle    = "/etc/ssl/noid-bundle.pem" // they and all others that the guest trusts
)

var (
	// bundles are where distributions have the authorities that they trust in one file: Debian and Alpine, Red Hat's,
	// SUSE, Alpine again.
	bundles = []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/pki/tls/certs/ca-bundle.crt",
		"/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"}
	// anchors are where they look for more when they make those files anew. The first one is made: the package that
	// looks there may come later.
	anchors = []string{"/usr/local/share/ca-certificates", "/etc/pki/ca-trust/source/anchors", "/etc/ca-certificates/trust-source/anchors",
		"/usr/share/pki/trust/anchors", "/etc/pki/trust/anchors"}
)

const (
	// maxTrust bounds what Trust reads, in bytes.
	maxTrust = 8 << 20
	// pemEnd ends a certificate.
	pemEnd = "-----END CERTIFICATE-----\n"
)

// Trust has the guest whose root directory is root trust the first certificates of in, as many as args has names: those
// by which OpenSSL looks for them. The others are what it trusts where it has no list of its own. It may be repeated,
// also at the same time. warn is told of a Java that does not trust them.
func Trust(root string, args []string, in io.Reader, warn func(string)) error {
	all, err := io.ReadAll(io.LimitReader(in, maxTrust))
	if err != nil {
		return err
	}
	own := bytes.SplitAfter(all, []byte(pemEnd))
	if len(args) == 0 || len(own) <= len(args) || slices.ContainsFunc(args, func(name string) bool { return filepath.Base(name) != name }) {
		return errors.New("as many names as certificates are needed")
	}
	own = own[:len(args)]
	authorities := bytes.Join(own, nil)
	bundle := slices.Concat(all[len(authorities):], authorities)
	var problems []error
	for i, name := range bundles {
		list, err := addTo(filepath.Join(root, name), own)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if problems = append(problems, err); err == nil && !slices.ContainsFunc(bundles[:i], func(before string) bool { return isThere(root, before) }) {
			bundle = list
		}
	}
	os.MkdirAll(filepath.Join(root, anchors[0]), 0o755)
	for i, authority := range own {
		name := "noid"
		if i > 0 {
			name = fmt.Sprintf("noid-%d", i)
		}
		for _, dir := range anchors {
			if isThere(root, dir) {
				problems = append(problems, replaceFile(filepath.Join(root, dir, name+".crt"), authority))
			}
		}
		if dir := filepath.Join(root, "/etc/ssl/certs"); isThere(root, "/etc/ssl/certs") {
			// noid.pem as update-ca-certificates would name it: a Java that is installed later takes it from there.
			problems = append(problems, replaceFile(filepath.Join(dir, args[i]+".0"), authority), replaceFile(filepath.Join(dir, name+".pem"), authority))
		}
	}
	if err := os.MkdirAll(filepath.Join(root, filepath.Dir(TrustedBundle)), 0o755); err != nil {
		return err
	}
	problems = append(problems, replaceFile(filepath.Join(root, TrustedAuthority), authorities), replaceFile(filepath.Join(root, TrustedBundle), bundle))
	for i, authority := range own {
		trustJava(root, args[i], authority, warn)
	}
	return errors.Join(problems...)
}

func isThere(root, name string) bool {
	_, err := os.Stat(filepath.Join(root, name))
	return err == nil
}

// addTo appends authorities to a list, unless they are there already, and returns the list.
func addTo(path string, authorities [][]byte) ([]byte, error) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	list, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	before := len(list)
	for _, authority := range authorities {
		if bytes.Contains(list, authority) {
			continue
		}
		if len(list) > 0 && list[len(list)-1] != '\n' {
			list = append(list, '\n')
		}
		list = append(list, authority...)
	}
	if len(list) == before {
		return list, nil
	}
	return list, replaceFile(path, list)
}

// replaceFile writes a file that others may read: it has its new contents or its old ones, also after a crash.
func replaceFile(path string, data []byte) error {
	err := replaceBy(path, func(temp string) error { return os.WriteFile(temp, data, 0o644) })
	if err != nil {
		return fmt.Errorf("trusting noid's authority: %w", err)
	}
	return nil
}

// replaceBy puts what write makes of an empty file in path's place.
func replaceBy(path string, write func(temp string) error) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".noid-new-*")
	if err != nil {
		return err
	}
	defer f.Close()
	err = write(f.Name())
	if err == nil {
		err = os.Chmod(f.Name(), 0o644)
	}
	if err == nil {
		err = syncPath(f.Name()) // write may have made another file
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	return syncPath(dir)
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
