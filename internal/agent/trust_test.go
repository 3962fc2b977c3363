package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	ownCert   = "-----BEGIN CERTIFICATE-----\nnoid\n-----END CERTIFICATE-----\n"
	hostCerts = "-----BEGIN CERTIFICATE-----\nhost\n-----END CERTIFICATE-----\n"
	theirs    = "-----BEGIN CERTIFICATE-----\nguest\n-----END CERTIFICATE-----"
)

// TestTrust adds an authority to what a distribution has, once, and makes a list where there is none.
func TestTrust(t *testing.T) {
	for _, tt := range []struct {
		name         string
		files        map[string]string
		links        map[string]string
		bundle       string
		have, havent []string
	}{
		{"Debian", map[string]string{"etc/ssl/certs/ca-certificates.crt": theirs}, nil, theirs + "\n" + ownCert,
			[]string{"etc/ssl/certs/0a1b2c3d.0", "usr/local/share/ca-certificates/noid.crt"}, []string{"etc/pki"}},
		{"Alpine", map[string]string{"etc/ssl/certs/ca-certificates.crt": theirs}, map[string]string{"etc/ssl/cert.pem": "certs/ca-certificates.crt"},
			theirs + "\n" + ownCert, nil, nil},
		{"Red Hat", map[string]string{"etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem": theirs, "etc/pki/ca-trust/source/anchors/x": ""},
			map[string]string{"etc/pki/tls/certs/ca-bundle.crt": "../../ca-trust/extracted/pem/tls-ca-bundle.pem"},
			theirs + "\n" + ownCert, []string{"etc/pki/ca-trust/source/anchors/noid.crt"}, nil},
		{"an image without any", nil, nil, hostCerts + ownCert, []string{"usr/local/share/ca-certificates/noid.crt"}, []string{"etc/ssl/certs"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			for name, text := range tt.files {
				write(t, filepath.Join(root, name), text)
			}
			for name, to := range tt.links {
				os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755)
				if err := os.Symlink(to, filepath.Join(root, name)); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				if err := Trust(root, []string{"0a1b2c3d"}, strings.NewReader(ownCert+hostCerts)); err != nil {
					t.Fatal(err)
				}
			}
			for name, want := range map[string]string{TrustedBundle: tt.bundle, TrustedAuthority: ownCert} {
				if got, err := os.ReadFile(filepath.Join(root, name)); err != nil || string(got) != want {
					t.Errorf("%s: %q, %v, want %q", name, got, err, want)
				}
			}
			for name := range tt.files {
				if got, _ := os.ReadFile(filepath.Join(root, name)); strings.Count(string(got), ownCert) != 1 && len(got) > 0 {
					t.Errorf("%s: %q", name, got)
				}
			}
			for name := range tt.links {
				if info, err := os.Lstat(filepath.Join(root, name)); err != nil || info.Mode()&os.ModeSymlink == 0 {
					t.Errorf("%s is no link any more: %v", name, err)
				}
			}
			for _, name := range tt.have {
				if got, err := os.ReadFile(filepath.Join(root, name)); err != nil || string(got) != ownCert {
					t.Errorf("%s: %q, %v", name, got, err)
				}
			}
			for _, name := range tt.havent {
				if _, err := os.Stat(filepath.Join(root, name)); err == nil {
					t.Errorf("%s is there", name)
				}
			}
		})
	}
	if err := Trust(t.TempDir(), []string{"../x"}, strings.NewReader(ownCert)); err == nil {
		t.Error("a name that leads elsewhere")
	}
	if err := Trust(t.TempDir(), []string{"x"}, strings.NewReader("")); err == nil {
		t.Error("no certificate")
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
