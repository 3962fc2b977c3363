package imagetest

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// User and Password are what a registry with Basic or Bearer wants.
const User, Password = "jane", "secret"

const token = "a-token"

// Registry is a registry on this host. Its faults may be changed while it serves.
type Registry struct {
	Host string // host:port

	Basic, Bearer bool          // it wants a log-in
	Redirect      bool          // its layers are at another address
	Whole         bool          // it knows no ranges
	Hold          chan struct{} // it sends the second half of a layer when this is closed; nil for at once
	Break         atomic.Int64  // bytes of a layer after which it hangs up; 0 for never
	Tamper        atomic.Bool   // it changes a byte of each layer
	Busy          atomic.Int64  // answers with 429, that many times
	Requests      atomic.Int64  // that it has seen
	Sent          atomic.Int64  // bytes of layers

	inner http.Handler
	blobs *httptest.Server
}

// Serve starts a registry, which ends with the test.
func Serve(t testing.TB) *Registry {
	r := &Registry{inner: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	s := httptest.NewServer(r)
	t.Cleanup(s.Close)
	r.blobs = httptest.NewServer(http.HandlerFunc(r.blob))
	t.Cleanup(r.blobs.Close)
	r.Host = strings.TrimPrefix(s.URL, "http://")
	return r
}

// Push puts img, a v1.Image or a v1.ImageIndex, at ref in the registry and returns the whole reference.
func (r *Registry) Push(t testing.TB, ref string, img any) string {
	t.Helper()
	server := httptest.NewServer(r.inner)
	defer server.Close()
	to, err := name.ParseReference(strings.TrimPrefix(server.URL, "http://") + "/" + ref)
	if err != nil {
		t.Fatal(err)
	}
	switch img := img.(type) {
	case v1.Image:
		err = remote.Write(to, img)
	case v1.ImageIndex:
		err = remote.WriteIndex(to, img)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r.Host + "/" + ref
}

// LogIn writes docker's file with credentials for the registry into a new directory, and returns the directory:
// DOCKER_CONFIG.
func (r *Registry) LogIn(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	text := fmt.Sprintf(`{"auths": {%q: {"username": %q, "password": %q}}}`, r.Host, User, Password)
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// ServeHTTP answers as a registry does, with the faults that are ordered.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.Requests.Add(1)
	user, password, _ := req.BasicAuth()
	known := user == User && password == Password
	switch {
	case r.Busy.Load() > 0:
		r.Busy.Add(-1)
		w.Header().Set("Retry-After", "0")
		http.Error(w, `{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}`, http.StatusTooManyRequests)
	case req.URL.Path == "/token":
		if !known {
			http.Error(w, "", http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(w, `{"token": %q}`, token)
	case r.Basic && !known:
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		http.Error(w, "", http.StatusUnauthorized)
	case r.Bearer && req.Header.Get("Authorization") != "Bearer "+token:
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="test"`, r.Host))
		http.Error(w, "", http.StatusUnauthorized)
	case strings.Contains(req.URL.Path, "/blobs/") && r.Redirect:
		http.Redirect(w, req, r.blobs.URL+req.URL.Path, http.StatusTemporaryRedirect)
	case strings.Contains(req.URL.Path, "/blobs/"):
		r.blob(w, req)
	default:
		r.inner.ServeHTTP(w, req)
	}
}

// blob sends a layer or a configuration, with the faults that are ordered.
func (r *Registry) blob(w http.ResponseWriter, req *http.Request) {
	if r.Redirect && req.Header.Get("Authorization") != "" {
		http.Error(w, "credentials for another host", http.StatusBadRequest)
		return
	}
	rec := httptest.NewRecorder()
	whole := req.Clone(req.Context())
	whole.Header.Del("Range")
	r.inner.ServeHTTP(rec, whole)
	data := rec.Body.Bytes()
	isLayer := len(data) > 2 && data[0] == 0x1f
	if rec.Code != http.StatusOK || !isLayer {
		w.WriteHeader(rec.Code)
		w.Write(data)
		return
	}
	if r.Tamper.Load() {
		data[len(data)/2] ^= 1
	}
	start := int64(0)
	if from, ok := strings.CutPrefix(req.Header.Get("Range"), "bytes="); ok && !r.Whole {
		start, _ = strconv.ParseInt(strings.TrimSuffix(from, "-"), 10, 64)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, len(data)-1, len(data)))
	}
	w.Header().Set("Content-Length", fmt.Sprint(int64(len(data))-start))
	if start > 0 {
		w.WriteHeader(http.StatusPartialContent)
	}
	end := int64(len(data))
	if at := r.Break.Load(); at > 0 && start+at < end {
		end = start + at
		if r.Whole {
			r.Break.Add(at) // else nobody would ever have all
		}
	}
	if r.Hold != nil {
		half := (start + end) / 2
		w.Write(data[start:half])
		w.(http.Flusher).Flush()
		r.Sent.Add(half - start)
		start = half
		select {
		case <-r.Hold:
		case <-req.Context().Done():
			return
		}
	}
	w.Write(data[start:end])
	r.Sent.Add(end - start)
	if end < int64(len(data)) {
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}
