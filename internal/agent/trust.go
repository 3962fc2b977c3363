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
	TrustedAuthority = "/etc/ssl/noid-ca.pem"     // the home's authority alone
	TrustedBundle    = "/etc/ssl/noid-bundle.pem" // it and all others that the guest trusts
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
	// anchor is the authority's file in each of anchors.
	anchor = "noid.crt"
	// maxTrust bounds what Trust reads, in bytes.
	maxTrust = 8 << 20
	// pemEnd ends a certificate.
	pemEnd = "-----END CERTIFICATE-----\n"
)

// Trust has the guest whose root directory is root trust the first certificate of in; the others are what it trusts where it
// has no list of its own. args has the name by which OpenSSL looks for the first one. It may be repeated, also at the
// same time. warn is told of a Java that does not trust it.
func Trust(root string, args []string, in io.Reader, warn func(string)) error {
	if len(args) != 1 || filepath.Base(args[0]) != args[0] {
		return errors.New("one name is needed")
	}
	all, err := io.ReadAll(io.LimitReader(in, maxTrust))
	if err != nil {
		return err
	}
	n := bytes.Index(all, []byte(pemEnd))
	if n < 0 {
		return errors.New("there is no certificate")
	}
	authority, bundle := all[:n+len(pemEnd)], slices.Concat(all[n+len(pemEnd):], all[:n+len(pemEnd)])
	var problems []error
	for i, name := range bundles {
		list, err := addTo(filepath.Join(root, name), authority)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if problems = append(problems, err); err == nil && !slices.ContainsFunc(bundles[:i], func(before string) bool { return isThere(root, before) }) {
			bundle = list
		}
	}
	os.MkdirAll(filepath.Join(root, anchors[0]), 0o755)
	for _, dir := range anchors {
		if isThere(root, dir) {
			problems = append(problems, replaceFile(filepath.Join(root, dir, anchor), authority))
		}
	}
	if dir := filepath.Join(root, "/etc/ssl/certs"); isThere(root, "/etc/ssl/certs") {
		// noid.pem as update-ca-certificates would name it: a Java that is installed later takes it from there.
		problems = append(problems, replaceFile(filepath.Join(dir, args[0]+".0"), authority), replaceFile(filepath.Join(dir, "noid.pem"), authority))
	}
	if err := os.MkdirAll(filepath.Join(root, filepath.Dir(TrustedBundle)), 0o755); err != nil {
		return err
	}
	problems = append(problems, replaceFile(filepath.Join(root, TrustedAuthority), authority), replaceFile(filepath.Join(root, TrustedBundle), bundle))
	trustJava(root, args[0], authority, warn)
	return errors.Join(problems...)
}

func isThere(root, name string) bool {
	_, err := os.Stat(filepath.Join(root, name))
	return err == nil
}

// addTo appends an authority to a list, unless it is there already, and returns the list.
func addTo(path string, authority []byte) ([]byte, error) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	list, err := os.ReadFile(path)
	if err != nil || bytes.Contains(list, authority) {
		return list, err
	}
	if len(list) > 0 && list[len(list)-1] != '\n' {
		list = append(list, '\n')
	}
	list = append(list, authority...)
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
