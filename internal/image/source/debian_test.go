package source

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"noid/internal/errs"
	"noid/internal/image/imagetest"
)

// passwordHash is bcrypt's of imagetest.Password.
const passwordHash = "$2b$04$5JvUSgVGfCw8KrVxND3EI.lluelxF1.3xQnDjTVxSiJS5Eo7dWe06"

// serveDebian starts Debian's registry, which wants a log-in, and returns its address.
func serveDebian(t *testing.T) string {
	t.Helper()
	for _, program := range []string{"docker-registry", "skopeo"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("NOT RUN: there is no %s; Debian has it as a package", program)
		}
	}
	dir := t.TempDir()
	config := fmt.Sprintf(`version: 0.1
storage: {filesystem: {rootdirectory: %s/data}}
auth: {htpasswd: {realm: test, path: %s/htpasswd}}
http: {addr: "127.0.0.1:0"}
`, dir, dir)
	if err := errors.Join(os.WriteFile(dir+"/config.yml", []byte(config), 0o600), os.WriteFile(dir+"/htpasswd", []byte(imagetest.User+":"+passwordHash+"\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("docker-registry", "serve", dir+"/config.yml")
	messages, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	address := regexp.MustCompile(`listening on (127\.0\.0\.1:[0-9]+)`)
	for lines := bufio.NewScanner(messages); lines.Scan(); {
		if m := address.FindStringSubmatch(lines.Text()); m != nil {
			go io.Copy(io.Discard, messages)
			return m[1]
		}
	}
	t.Fatal("docker-registry does not say where it listens")
	return ""
}

// breaking passes requests on to the registry at host, and hangs up each tenth of what it sends of a layer.
func breaking(t *testing.T, host string, breaks *atomic.Int64) string {
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: host})
	proxy.ModifyResponse = func(resp *http.Response) error {
		if strings.Contains(resp.Request.URL.Path, "/blobs/") && resp.ContentLength > 100_000 {
			if resp.Request.Header.Get("Range") == "" {
				breaks.Store(resp.ContentLength / 10)
			}
			resp.Body = struct {
				io.Reader
				io.Closer
			}{io.MultiReader(io.LimitReader(resp.Body, breaks.Load()), brokenReader{}), resp.Body}
		}
		return nil
	}
	quiet := log.New(io.Discard, "", 0)
	proxy.ErrorLog = quiet
	s := httptest.NewServer(proxy)
	s.Config.ErrorLog = quiet
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("broken") }

// TestDebianRegistry pulls from docker-registry what skopeo has pushed, with each compression, over a connection that
// breaks; and reads the archives that skopeo makes.
func TestDebianRegistry(t *testing.T) {
	host := serveDebian(t)
	o, layers := options(t), twoLayers(t)
	dir := saveLayout(t, imagetest.Image(t, layers...))
	login := (&imagetest.Registry{Host: host}).LogIn(t)
	for _, format := range []string{"gzip", "zstd"} {
		to := "docker://" + host + "/app:" + format
		run(t, "skopeo", "copy", "-q", "--dest-tls-verify=false", "--dest-creds", imagetest.User+":"+imagetest.Password, "--dest-compress-format", format, "oci:"+dir, to)
		for _, kind := range []string{"oci-archive", "docker-archive"} {
			file := filepath.Join(t.TempDir(), "image")
			run(t, "skopeo", "copy", "-q", "--src-tls-verify=false", "--src-creds", imagetest.User+":"+imagetest.Password, to, kind+":"+file)
			wantImage(t, kind+":"+file, o, layers)
		}
		if _, err := Open(t.Context(), host+"/app:"+format, o); !strings.Contains(errs.Hint(err), "docker login "+host) {
			t.Errorf("without a log-in: %v (%s)", err, errs.Hint(err))
		}
	}
	t.Setenv("DOCKER_CONFIG", login)
	for _, format := range []string{"gzip", "zstd"} {
		wantImage(t, host+"/app:"+format, o, layers)
	}
	if _, err := Open(t.Context(), host+"/app:none", o); !errors.Is(err, errs.ErrNotFound) {
		t.Error(err)
	}
	var breaks atomic.Int64
	proxy := breaking(t, host, &breaks)
	t.Setenv("DOCKER_CONFIG", (&imagetest.Registry{Host: proxy}).LogIn(t))
	for _, format := range []string{"gzip", "zstd"} {
		fresh := o
		fresh.LayersDir = filepath.Join(t.TempDir(), "layers")
		wantImage(t, proxy+"/app:"+format, fresh, layers)
		if breaks.Swap(0) == 0 {
			t.Error("no transfer was broken")
		}
	}
}
