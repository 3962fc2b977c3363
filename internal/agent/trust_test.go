package agent

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"noid/internal/agent/changes"
	"noid/internal/agent/jks"
	"noid/internal/network/ca"
)

const (
	ownCert   = "-----BEGIN CERTIFICATE-----\nbm9pZA==\n-----END CERTIFICATE-----\n"
	otherCert = "-----BEGIN CERTIFICATE-----\nb3RoZXI=\n-----END CERTIFICATE-----\n"
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
			[]string{"etc/ssl/certs/0a1b2c3d.0", "etc/ssl/certs/noid.pem", "usr/local/share/ca-certificates/noid.crt"}, []string{"etc/pki"}},
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
				if err := Trust(root, []string{"0a1b2c3d"}, strings.NewReader(ownCert+hostCerts), told(t)); err != nil {
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
	if err := Trust(t.TempDir(), []string{"../x"}, strings.NewReader(ownCert), told(t)); err == nil {
		t.Error("a name that leads elsewhere")
	}
	if err := Trust(t.TempDir(), []string{"x"}, strings.NewReader(""), told(t)); err == nil {
		t.Error("no certificate")
	}
}

// told fails for what Trust warns of.
func told(t *testing.T) func(string) { return func(text string) { t.Errorf("warned: %s", text) } }

// TestTrustAtOnce has several first commands of a guest do it: every list is whole all the time, and nothing is left over.
func TestTrustAtOnce(t *testing.T) {
	root := t.TempDir()
	list := filepath.Join(root, "etc/ssl/certs/ca-certificates.crt")
	write(t, list, strings.Repeat(theirs+"\n", 2000))
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 2 {
				if err := Trust(root, []string{"0a1b2c3d"}, strings.NewReader(ownCert), told(t)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	ended := make(chan bool)
	go func() { all.Wait(); close(ended) }()
	for running := true; running; {
		select {
		case <-ended:
			running = false
		default:
		}
		if got, err := os.ReadFile(list); err != nil || strings.TrimSuffix(string(got), ownCert) != strings.Repeat(theirs+"\n", 2000) {
			t.Fatalf("the list has %d bytes, %v", len(got), err)
		}
	}
	filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || strings.Contains(path, "noid-new") {
			t.Errorf("%s, %v", path, err)
		}
		return err
	})
}

// TestTrustIsNoImages: an image that is made of the guest has none of what Trust has left in it.
func TestTrustIsNoImages(t *testing.T) {
	root := t.TempDir()
	empty := []byte("\xfe\xed\xfe\xed\x00\x00\x00\x02\x00\x00\x00\x00\xe2\x68\x6e\x45\xfb\x43\xdf\xa4\xd9\x92\xdd\x41\xce\xb6\xb2\x1c\x63\x30\xd7\x92")
	java, ok := jks.Add(empty, "theirs", []byte("guest"), time.Now())
	if !ok {
		t.Fatal("an empty list is refused")
	}
	want := map[string]string{"etc/ssl/certs/ca-certificates.crt": theirs + "\n", "etc/ssl/certs/java/cacerts": string(java), "etc/other": ownCert,
		"usr/local/share/ca-certificates/theirs.crt": theirs}
	for name, text := range want {
		write(t, filepath.Join(root, name), text)
	}
	if err := Trust(root, []string{"0a1b2c3d", "1a1b2c3d"}, strings.NewReader(ownCert+otherCert+hostCerts), told(t)); err != nil {
		t.Fatal(err)
	}
	certs := filepath.Join(root, "etc/ssl/certs")
	for name, want := range map[string]string{"ca-certificates.crt": theirs + "\n" + ownCert + otherCert, "1a1b2c3d.0": otherCert, "noid-1.pem": otherCert} {
		if got, err := os.ReadFile(filepath.Join(certs, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for name, to := range map[string]string{"noid.pem": "/usr/local/share/ca-certificates/noid.crt", "0a1b2c3d.0": "noid.pem"} { // as update-ca-certificates
		if err := errors.Join(os.Remove(filepath.Join(certs, name)), os.Symlink(to, filepath.Join(certs, name))); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	var layer bytes.Buffer
	if err := changes.WriteAll(&layer, int(dir.Fd()), told(t)); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for in := tar.NewReader(&layer); ; {
		h, err := in.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if data, _ := io.ReadAll(in); h.Typeflag != tar.TypeDir {
			got[h.Name] = string(data)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestTrustJava adds an authority to Java's lists, in both formats, as Java's own tool sees them; once.
func TestTrustJava(t *testing.T) {
	if _, err := exec.LookPath("keytool"); err != nil {
		t.Skip("NOT RUN: no keytool")
	}
	root := t.TempDir()
	authority := func(name string) []byte {
		a, err := ca.New(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(root, name), string(a.CertPEM))
		return a.CertPEM
	}
	keytool := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("keytool", append(args, "-storepass", jks.Password)...).CombinedOutput()
		if err != nil {
			t.Fatalf("keytool %q: %v: %s", args, err, out)
		}
		return string(out)
	}
	own := authority("own.pem")
	authority("theirs.pem")
	lists := map[string]string{"etc/ssl/certs/java/cacerts": "JKS", "opt/java/openjdk/lib/security/cacerts": "PKCS12"}
	for name, format := range lists {
		path := filepath.Join(root, name)
		os.MkdirAll(filepath.Dir(path), 0o755)
		keytool("-importcert", "-noprompt", "-alias", "theirs", "-file", filepath.Join(root, "theirs.pem"), "-keystore", path, "-storetype", format)
	}
	os.MkdirAll(filepath.Join(root, "usr/lib/jvm/x/lib/security"), 0o755)
	os.Symlink(filepath.Join(root, "etc/ssl/certs/java/cacerts"), filepath.Join(root, "usr/lib/jvm/x/lib/security/cacerts"))
	for range 2 {
		if err := Trust(root, []string{"0a1b2c3d"}, bytes.NewReader(own), told(t)); err != nil {
			t.Fatal(err)
		}
	}
	for name, format := range lists {
		path := filepath.Join(root, name)
		got := keytool("-list", "-rfc", "-keystore", path)
		if !strings.Contains(got, "contains 2 entries") || !strings.Contains(got, "Keystore type: "+format) || !strings.Contains(got, "noid-0a1b2c3d") ||
			strings.Count(strings.ReplaceAll(got, "\r", ""), strings.TrimSpace(string(own))) != 1 {
			t.Errorf("%s: %s", name, got)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o644 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	write(t, filepath.Join(root, "opt/other/lib/security/cacerts"), "nonsense")
	warned := 0
	if err := Trust(root, []string{"0a1b2c3d"}, bytes.NewReader(own), func(string) { warned++ }); err != nil || warned != 1 {
		t.Errorf("a list that is none: %d warnings, %v", warned, err)
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
