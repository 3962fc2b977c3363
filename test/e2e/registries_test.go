package e2e

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// word is what each package of the registries says.
const word = "from the registry"

// registries has one package, noidtest, for each of pip, npm, go, cargo and apt, and a git repository. Who asks for
// a token is told so by asks, which cargo wants to know.
func registries(t *testing.T, asks bool) http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("/hello", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, word) })
	m.Handle("/repo.git/", repository(t))
	pip(t, m)
	npm(t, m)
	goproxy(t, m)
	cargo(t, m, asks)
	apt(t, m)
	return m
}

func serves(m *http.ServeMux, path, contentType string, data []byte) {
	m.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Write(data)
	})
}

// zipped and tarred make archives of pairs of a name and a text.
func zipped(t *testing.T, files ...string) []byte {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		w, err := z.Create(files[i])
		check(t, err)
		io.WriteString(w, files[i+1])
	}
	check(t, z.Close())
	return b.Bytes()
}

func tarred(t *testing.T, files ...string) []byte {
	var b bytes.Buffer
	g := gzip.NewWriter(&b)
	w := tar.NewWriter(g)
	for i := 0; i < len(files); i += 2 {
		check(t, w.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1]))}))
		io.WriteString(w, files[i+1])
	}
	check(t, w.Close())
	check(t, g.Close())
	return b.Bytes()
}

// pip is a simple index (PEP 503).
func pip(t *testing.T, m *http.ServeMux) {
	const wheel, info = "noidtest-1.0-py3-none-any.whl", "noidtest-1.0.dist-info/"
	serves(m, "/simple/noidtest/", "text/html", []byte(`<!DOCTYPE html><html><body><a href="../../wheels/`+wheel+`">`+wheel+`</a></body></html>`))
	serves(m, "/wheels/"+wheel, "application/zip", zipped(t, "noidtest.py", "word = '"+word+"'\n",
		info+"METADATA", "Metadata-Version: 2.1\nName: noidtest\nVersion: 1.0\n",
		info+"WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
		info+"RECORD", "noidtest.py,,\n"+info+"METADATA,,\n"+info+"WHEEL,,\n"+info+"RECORD,,\n"))
}

func npm(t *testing.T, m *http.ServeMux) {
	m.HandleFunc("/npm/noidtest", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"name": "noidtest", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0":
			{"name": "noidtest", "version": "1.0.0", "dist": {"tarball": "https://%s/npm/noidtest/-/noidtest-1.0.0.tgz"}}}}`, r.Host)
	})
	serves(m, "/npm/noidtest/-/noidtest-1.0.0.tgz", "application/octet-stream", tarred(t,
		"package/package.json", `{"name": "noidtest", "version": "1.0.0"}`, "package/index.js", "module.exports = '"+word+"'\n"))
}

func goproxy(t *testing.T, m *http.ServeMux) {
	const module, version = "example.test/noidtest", "v1.0.0"
	mod := "module " + module + "\n"
	serves(m, "/go/"+module+"/@v/list", "text/plain", []byte(version+"\n"))
	serves(m, "/go/"+module+"/@v/"+version+".info", "application/json", []byte(`{"Version": "`+version+`"}`))
	serves(m, "/go/"+module+"/@v/"+version+".mod", "text/plain", []byte(mod))
	serves(m, "/go/"+module+"/@v/"+version+".zip", "application/zip", zipped(t,
		module+"@"+version+"/go.mod", mod, module+"@"+version+"/word.go", "package noidtest\n\nconst Word = \""+word+"\"\n"))
}

// cargo is a sparse registry.
func cargo(t *testing.T, m *http.ServeMux, asks bool) {
	crate := tarred(t, "noidtest-1.0.0/Cargo.toml", "[package]\nname = \"noidtest\"\nversion = \"1.0.0\"\n",
		"noidtest-1.0.0/src/lib.rs", "pub const WORD: &str = \""+word+"\";\n")
	m.HandleFunc("/cargo/config.json", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"dl": "https://%s/cargo/dl", "auth-required": %t}`, r.Host, asks)
	})
	serves(m, "/cargo/no/id/noidtest", "text/plain", fmt.Appendf(nil,
		`{"name": "noidtest", "vers": "1.0.0", "deps": [], "cksum": "%x", "features": {}, "yanked": false}`+"\n", sha256.Sum256(crate)))
	serves(m, "/cargo/dl/noidtest/1.0.0/download", "application/gzip", crate)
}

// apt is a mirror with two packages, of which one needs the other. Nobody has signed it.
func apt(t *testing.T, m *http.ServeMux) {
	var index bytes.Buffer
	dir := t.TempDir()
	for _, p := range [][]string{{"noidtest", "Depends: noidtest-word\n"}, {"noidtest-word", ""}} {
		name, root := p[0], filepath.Join(dir, p[0])
		control := "Package: " + name + "\nVersion: 1.0\nArchitecture: all\nMaintainer: test <test@example.test>\n" + p[1] + "Description: a test\n"
		check(t, os.MkdirAll(filepath.Join(root, "DEBIAN"), 0o755))
		check(t, os.MkdirAll(filepath.Join(root, "usr/share/noidtest"), 0o755))
		check(t, os.WriteFile(filepath.Join(root, "DEBIAN/control"), []byte(control), 0o644))
		check(t, os.WriteFile(filepath.Join(root, "usr/share/noidtest", name), []byte(word), 0o644))
		out, err := exec.Command("dpkg-deb", "--root-owner-group", "--build", root).CombinedOutput()
		if err != nil {
			t.Fatalf("dpkg-deb: %v: %s", err, out)
		}
		deb, err := os.ReadFile(root + ".deb")
		check(t, err)
		file := "pool/" + name + ".deb"
		fmt.Fprintf(&index, "%sFilename: %s\nSize: %d\nSHA256: %x\n\n", control, file, len(deb), sha256.Sum256(deb))
		serves(m, "/debian/"+file, "application/octet-stream", deb)
	}
	const list = "main/binary-amd64/Packages"
	release := fmt.Sprintf("Suite: test\nCodename: test\nComponents: main\nArchitectures: amd64\nDate: Sat, 01 Aug 2026 00:00:00 UTC\nSHA256:\n %x %d %s\n",
		sha256.Sum256(index.Bytes()), index.Len(), list)
	serves(m, "/debian/dists/test/Release", "text/plain", []byte(strings.TrimLeft(release, "\n")))
	serves(m, "/debian/dists/test/"+list, "text/plain", index.Bytes())
}
