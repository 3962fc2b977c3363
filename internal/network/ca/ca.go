// Package ca is the certificate authority of a home. Guests trust it, so that the network helper can put secrets into
// their TLS connections; nothing outside the home's guests does.
package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"time"
)

const (
	// years is how long an authority lives, and with it all its leaves.
	years = 30
	// early is how much older than its birth an authority looks: a guest's clock may be behind the host's.
	early = 24 * time.Hour
	// maxLeaves bounds the leaves that are kept.
	maxLeaves = 1024
)

// Authority signs leaves. Its methods may be used at the same time.
type Authority struct {
	CertPEM []byte // its certificate, for guests
	KeyPEM  []byte // its private key

	cert *x509.Certificate
	key  crypto.Signer

	mu      sync.Mutex
	leafKey *ecdsa.PrivateKey
	leaves  map[string]*tls.Certificate
}

// New makes an authority that was born now.
func New(now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	var id [4]byte
	rand.Read(id[:])
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "noid " + hex.EncodeToString(id[:])},
		NotBefore: now.Add(-early), NotAfter: now.AddDate(years, 0, 0),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return Parse(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

// Parse makes an authority of its two files, which may be one.
func Parse(certPEM, keyPEM []byte) (*Authority, error) {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !pair.Leaf.IsCA {
		return nil, errors.New("certificate authority: its certificate is of no authority")
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return &Authority{ // encoded anew: nothing else of one file must be in the other
		CertPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Leaf.Raw}),
		KeyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
		cert:    pair.Leaf, key: key, leaves: map[string]*tls.Certificate{},
	}, nil
}

// Leaf returns a certificate for the host name. It is valid as long as the authority: a guest that is restored has the
// time of its checkpoint at first.
func (a *Authority) Leaf(name string) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if leaf := a.leaves[name]; leaf != nil {
		return leaf, nil
	}
	if a.leafKey == nil {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		a.leafKey = key
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: commonName(name)}, DNSNames: []string{name},
		NotBefore: a.cert.NotBefore, NotAfter: a.cert.NotAfter, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, a.leafKey.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("certificate for %q: %w", name, err)
	}
	if len(a.leaves) >= maxLeaves {
		clear(a.leaves)
	}
	a.leaves[name] = &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.leafKey}
	return a.leaves[name], nil
}

// commonName is name within X.520's bound of 64 characters.
func commonName(name string) string {
	if len(name) > 64 {
		return name[len(name)-64:]
	}
	return name
}

func serial() *big.Int {
	n, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // crypto/rand ends the program rather than fail
	return n.Add(n, big.NewInt(1))
}

// Certificate is the authority's.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// Hash is that of the authority's certificate.
func (a *Authority) Hash() string {
	hash, err := Hash(a.cert)
	if err != nil {
		panic(err) // of a name that this package has made
	}
	return hash
}

// Hash is what OpenSSL names a certificate's file by in a directory of certificates, with ".0" behind: the SHA-1 of the
// subject, its texts in lower case and with single spaces.
func Hash(cert *x509.Certificate) (string, error) {
	var subject pkix.RDNSequence
	if _, err := asn1.Unmarshal(cert.RawSubject, &subject); err != nil {
		return "", err
	}
	sum := sha1.New()
	for _, set := range subject {
		type attribute struct {
			Type  asn1.ObjectIdentifier
			Value string `asn1:"utf8"`
		}
		var canonical []attribute
		for _, part := range set {
			text, ok := part.Value.(string)
			if !ok {
				return "", errors.New("a part of the subject is no text")
			}
			canonical = append(canonical, attribute{part.Type, lower(strings.Join(strings.FieldsFunc(text, isSpace), " "))})
		}
		der, err := asn1.MarshalWithParams(canonical, "set")
		if err != nil {
			return "", err
		}
		sum.Write(der)
	}
	return fmt.Sprintf("%08x", binary.LittleEndian.Uint32(sum.Sum(nil))), nil
}

// lower and isSpace know ASCII alone, as OpenSSL does.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, s)
}

func isSpace(r rune) bool { return r == ' ' || '\t' <= r && r <= '\r' }
