package changes

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"noid/internal/agent/jks"
)

// What a guest has of noid's authority is the VM's, and not the image's: files of its own, and lines in lists.
var (
	authorityFile = "etc/ssl/noid-ca.pem"
	trustFiles    = []string{authorityFile, "etc/ssl/noid-bundle.pem"}
	trustDirs     = []string{"etc/ssl/", "etc/pki/", "etc/ca-certificates/", "usr/local/share/ca-certificates/", "usr/share/pki/"}
	// javaLists are the ends of the paths of Java's lists.
	javaLists = []string{"lib/security/cacerts", "java/cacerts"}
)

const (
	// maxTrust bounds the lists that are looked into, in bytes.
	maxTrust = 8 << 20
	// pemEnd ends a certificate.
	pemEnd = "-----END CERTIFICATE-----\n"
)

// readAuthorities returns the authorities that noid has added to those that the guest trusts, each as PEM.
func readAuthorities(root int) (list [][]byte) {
	fd, err := unix.Openat(root, authorityFile, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), authorityFile)
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxTrust))
	if err != nil {
		return nil
	}
	for _, text := range bytes.SplitAfter(data, []byte(pemEnd)) {
		if block, _ := pem.Decode(text); block != nil {
			list = append(list, text)
		}
	}
	return list
}

// isJavaList reports whether name is that of a list of Java's.
func isJavaList(name string) bool {
	return slices.ContainsFunc(javaLists, func(end string) bool { return strings.HasSuffix(name, end) })
}

// trusts reports whether a file may have noid's authority in it.
func (c *writer) trusts(name string, size int64) bool {
	return c.authorities != nil && size <= maxTrust &&
		(isJavaList(name) || slices.ContainsFunc(trustDirs, func(dir string) bool { return strings.HasPrefix(name, dir) }))
}

// distrust returns a list without what noid has added; nothing of one that has nothing else.
func (c *writer) distrust(name string, list []byte) []byte {
	if isJavaList(name) {
		return c.distrustJava(name, list)
	}
	without := list
	for _, authority := range c.authorities {
		without = bytes.ReplaceAll(without, authority, nil)
	}
	if len(bytes.TrimSpace(without)) == 0 && len(without) < len(list) {
		return nil
	}
	return without
}

func (c *writer) distrustJava(name string, list []byte) []byte {
	if !bytes.HasPrefix(list, []byte{0xfe, 0xed, 0xfe, 0xed}) {
		c.warn(fmt.Sprintf("%q may have the certificate of noid's authority: it is in a format that noid cannot change", "/"+name))
	}
	for _, authority := range c.authorities {
		block, _ := pem.Decode(authority)
		if without, ok := jks.Remove(list, block.Bytes); ok {
			list = without
		}
	}
	return list
}

// linksTrust reports whether a symbolic link is one to an authority that noid has added, as update-ca-certificates makes.
func (c *writer) linksTrust(name, target string) bool {
	pem, _ := path.Match("noid*.pem", target)
	crt, _ := path.Match("/usr/local/share/ca-certificates/noid*.crt", target)
	return c.authorities != nil && strings.HasPrefix(name, "etc/ssl/certs/") && (pem || crt)
}
