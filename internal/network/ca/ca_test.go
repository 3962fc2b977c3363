package ca

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestLeaf is accepted by OpenSSL's strict rules, at the authority's birth and years later, and by Go.
func TestLeaf(t *testing.T) {
	birth := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	a, err := New(birth)
	if err != nil {
		t.Fatal(err)
	}
	if a, err = Parse(a.CertPEM, a.KeyPEM); err != nil {
		t.Fatal(err)
	}
	one := append(bytes.Clone(a.KeyPEM), a.CertPEM...)
	if a, err = Parse(one, one); err != nil || bytes.Contains(a.CertPEM, []byte("KEY")) || bytes.Contains(a.KeyPEM, []byte("CERT")) {
		t.Fatalf("of one file: %v", err)
	}
	long := strings.Repeat("a.", 60) + "example"
	for _, name := range []string{"api.example.com", long} {
		leaf, err := a.Leaf(name)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := a.Leaf(name); err != nil || again != leaf {
			t.Errorf("a second leaf for %s: %v", name, err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(a.CertPEM)
		cert, err := x509.ParseCertificate(leaf.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, now := range []time.Time{birth, birth.Add(-time.Hour), birth.AddDate(20, 0, 0)} {
			if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: now}); err != nil {
				t.Errorf("%s at %v: %v", name, now, err)
			}
		}
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: "other.example.com", CurrentTime: birth}); err == nil {
			t.Error("a leaf is for another name too")
		}
		strict(t, a, leaf.Certificate[0])
	}
	if _, err := Parse([]byte("x"), a.KeyPEM); err == nil {
		t.Error("nonsense is taken for a certificate")
	}
}

func strict(t *testing.T, a *Authority, leaf []byte) {
	t.Helper()
	dir := t.TempDir()
	authority, file := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "leaf.pem")
	write(t, authority, a.CertPEM)
	write(t, file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf}))
	out, err := exec.Command("openssl", "verify", "-x509_strict", "-attime", "1793534400", "-CAfile", authority, file).CombinedOutput()
	if err != nil {
		t.Errorf("openssl: %v: %s", err, out)
	}
	out, err = exec.Command("openssl", "x509", "-noout", "-hash", "-in", authority).Output()
	if err != nil || strings.TrimSpace(string(out)) != a.Hash() {
		t.Errorf("openssl names it %s, noid %s: %v", out, a.Hash(), err)
	}
}

// TestHash names certificates of others as OpenSSL does.
func TestHash(t *testing.T) {
	for _, subject := range []string{"/CN=x", "/C=DE/O=Some  Big\tCompany /OU=a/OU=b/CN=Inner CA", "/O=Ünïcode GmbH/CN= ÄX ", "/DC=example/DC=com/emailAddress=A@Example.com/CN=x+serialNumber=7A"} {
		file := filepath.Join(t.TempDir(), "x.pem")
		out, err := exec.Command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "/dev/null",
			"-out", file, "-utf8", "-multivalue-rdn", "-subj", subject).CombinedOutput()
		if err != nil {
			t.Fatalf("openssl: %v: %s", err, out)
		}
		data, _ := os.ReadFile(file)
		block, _ := pem.Decode(data)
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		out, err = exec.Command("openssl", "x509", "-noout", "-hash", "-in", file).Output()
		if got, herr := Hash(cert); err != nil || herr != nil || got != strings.TrimSpace(string(out)) {
			t.Errorf("%s: openssl names it %s (%v), noid %s (%v)", subject, out, err, got, herr)
		}
	}
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
