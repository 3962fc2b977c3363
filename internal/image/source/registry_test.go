package source

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"noid/internal/errs"
	"noid/internal/image"
	"noid/internal/image/imagetest"
)

func TestMain(m *testing.M) {
	busyPause = time.Millisecond
	os.Exit(m.Run())
}

// noise is text that does not compress.
func noise(n int) string {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(b)
	return string(b)
}

// twoLayers are the archives of an image, the bottom one first.
func twoLayers(t *testing.T) [][]byte {
	return [][]byte{imagetest.Tar(t, map[string]string{"bin/": "", "bin/true": noise(300_000)}), imagetest.Tar(t, map[string]string{"etc/motd": "hello"})}
}

// options are those of a user without credentials.
func options(t *testing.T) Options {
	t.Helper()
	t.Setenv("HOME", t.TempDir())
	t.Setenv("DOCKER_CONFIG", "")
	t.Setenv("XDG_RUNTIME_DIR", "")
	return Options{LayersDir: filepath.Join(t.TempDir(), "layers"), Progress: &Progress{}}
}

// readLayers reads all layers of img, the top one first as a build does.
func readLayers(img *Image) ([][]byte, error) {
	all := make([][]byte, len(img.Layers))
	for i := len(all) - 1; i >= 0; i-- {
		r, err := img.Layers[i].Open(context.Background())
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(r)
		if err = errors.Join(err, r.Close()); err != nil {
			return nil, err
		}
		all[i] = data
	}
	return all, nil
}

// wantImage opens ref and reads its layers, which must be want.
func wantImage(t *testing.T, ref string, o Options, want [][]byte) *Image {
	t.Helper()
	img, err := Open(t.Context(), ref, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(img.Close)
	got, err := readLayers(img)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("%d layers, want %d", len(got), len(want))
	}
	for i := range want {
		if string(got[i]) != string(want[i]) {
			t.Errorf("layer %d: %d bytes that are not the %d expected", i, len(got[i]), len(want[i]))
		}
		if !img.Layers[i].Verified() {
			t.Errorf("layer %d is not verified", i)
		}
	}
	return img
}

var wantConfig = image.Config{Env: []string{"PATH=/bin"}, User: "nobody", WorkingDir: "/tmp", Cmd: []string{"/bin/true"}, StopSignal: "SIGINT"}

// TestRegistry pulls from a registry: openly, with each kind of log-in, and with layers at another address.
func TestRegistry(t *testing.T) {
	for _, c := range []struct {
		name  string
		setUp func(*imagetest.Registry)
	}{
		{"open", func(*imagetest.Registry) {}},
		{"basic", func(r *imagetest.Registry) { r.Basic = true }},
		{"bearer", func(r *imagetest.Registry) { r.Bearer = true }},
		{"redirect", func(r *imagetest.Registry) { r.Bearer, r.Redirect = true, true }},
		{"busy", func(r *imagetest.Registry) { r.Busy.Store(2) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, r, layers := options(t), imagetest.Serve(t), twoLayers(t)
			pushed := imagetest.Image(t, layers...)
			ref := r.Push(t, "app:1", pushed)
			c.setUp(r)
			t.Setenv("DOCKER_CONFIG", r.LogIn(t))
			img := wantImage(t, ref, o, layers)
			if diff := cmp.Diff(wantConfig, img.Config); diff != "" {
				t.Error(diff)
			}
			if img.Digest != imagetest.Digest(t, pushed) {
				t.Errorf("digest %s", img.Digest)
			}
			if total, done := o.Progress.Total.Load(), o.Progress.Done.Load(); total == 0 || total != done {
				t.Errorf("progress: %d of %d", done, total)
			}
			sent := r.Sent.Load()
			wantImage(t, ref+"@"+img.Digest, o, layers)
			if r.Sent.Load() != sent {
				t.Error("layers that are kept were downloaded again")
			}
		})
	}
}

// TestBrokenTransfer breaks each transfer after a tenth of its bytes, again and again.
func TestBrokenTransfer(t *testing.T) {
	for _, whole := range []bool{false, true} {
		o, r, layers := options(t), imagetest.Serve(t), twoLayers(t)
		ref := r.Push(t, "app:1", imagetest.Image(t, layers...))
		r.Whole = whole
		r.Break.Store(30_000)
		img := wantImage(t, ref, o, layers)
		if sent := r.Sent.Load(); !whole && sent != img.Layers[0].Size+img.Layers[1].Size {
			t.Errorf("%d bytes were sent: it did not go on where it broke", sent)
		}
	}
}

// TestUnreachable loses the registry in the middle of a layer: nothing listens at its address for three times.
func TestUnreachable(t *testing.T) {
	o, r, layers := options(t), imagetest.Serve(t), twoLayers(t)
	ref := r.Push(t, "app:1", imagetest.Image(t, layers...))
	r.Break.Store(30_000)
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	var refused atomic.Int64
	redial(t, func(address string) string {
		if r.Sent.Load() > 0 && refused.Add(1) <= 3 {
			return nobody.Addr().String()
		}
		return address
	})
	wantImage(t, ref, o, layers)
	if refused.Load() < 3 {
		t.Errorf("it was lost %d times, not 3", refused.Load())
	}
}

// TestResume gives up at each tenth, as a killed noid does, and goes on with a new one.
func TestResume(t *testing.T) {
	o, r, layers := options(t), imagetest.Serve(t), twoLayers(t)
	ref := r.Push(t, "app:1", imagetest.Image(t, layers...))
	img, err := Open(t.Context(), ref, o)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	part := filepath.Join(o.LayersDir, LayerFile(img.Layers[0].Digest)+PartSuffix)
	whole := filepath.Join(o.LayersDir, LayerFile(img.Layers[0].Digest))
	wantImage(t, ref, o, layers)
	data, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	for tenth := range 11 {
		for _, damage := range []bool{false, true} {
			left := append([]byte(nil), data[:len(data)*tenth/10]...)
			if damage && tenth > 0 {
				left[0] ^= 1
			}
			if err := errors.Join(os.Remove(whole), os.WriteFile(part, left, 0o600)); err != nil {
				t.Fatal(err)
			}
			before := r.Sent.Load()
			wantImage(t, ref, o, layers)
			if sent := r.Sent.Load() - before; !damage && sent != int64(len(data)-len(left)) {
				t.Errorf("%d bytes were there, and %d of %d were sent", len(left), sent, len(data))
			}
			if _, err := os.Stat(part); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the partial file is left: %v", err)
			}
		}
	}
}

// TestCancelResume is cancelled before a terabyte of an earlier download has been read.
func TestCancelResume(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "part"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(1 << 40); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := newCache(t.TempDir(), nil)
	if err := c.fill(ctx, f, newDownload(digestOf(nil), 1<<41, nil)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestTwoPullers download the same layers at the same time: each is sent once.
func TestTwoPullers(t *testing.T) {
	o, r, layers := options(t), imagetest.Serve(t), twoLayers(t)
	ref := r.Push(t, "app:1", imagetest.Image(t, layers...))
	var images []*Image
	results := make(chan error)
	for range 4 {
		img, err := Open(t.Context(), ref, o)
		if err != nil {
			t.Fatal(err)
		}
		defer img.Close()
		images = append(images, img)
	}
	for _, img := range images {
		go func() {
			_, err := readLayers(img)
			results <- err
		}()
	}
	for range images {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if want := images[0].Layers[0].Size + images[0].Layers[1].Size; r.Sent.Load() != want {
		t.Errorf("%d bytes were sent, not %d", r.Sent.Load(), want)
	}
}

// TestPlatform picks this host's image of an index, and names those there are.
func TestPlatform(t *testing.T) {
	o, r, layers := options(t), imagetest.Serve(t), twoLayers(t)
	other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	here := imagetest.Image(t, layers...)
	there := imagetest.For(t, imagetest.Image(t, layers[1]), other)
	add := func(img v1.Image, arch string) mutate.IndexAddendum {
		return mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}}
	}
	ref := r.Push(t, "both:1", mutate.AppendManifests(empty.Index, add(there, other), add(here, runtime.GOARCH)))
	if img := wantImage(t, ref, o, layers); img.Digest != imagetest.Digest(t, here) {
		t.Errorf("digest %s", img.Digest)
	}
	for _, ref := range []string{r.Push(t, "there:1", mutate.AppendManifests(empty.Index, add(there, other), add(there, "riscv64"))), r.Push(t, "alone:1", there)} {
		_, err := Open(t.Context(), ref, o)
		if !errors.Is(err, errs.ErrNotFound) || !strings.Contains(err.Error(), "only for linux/"+other) {
			t.Errorf("%s: %v", ref, err)
		}
	}
}

// TestVariants prefers the image that every CPU runs, and takes any other where there is none.
func TestVariants(t *testing.T) {
	list := func(variants ...string) (all []v1.Descriptor) {
		for _, v := range variants {
			all = append(all, v1.Descriptor{ArtifactType: v, Platform: &v1.Platform{OS: "linux", Architecture: "arm64", Variant: v}})
		}
		return all
	}
	for want, from := range map[string][]v1.Descriptor{"": list("v3", ""), "v8": list("v9", "v8", ""), "v2": list("v2", "v3")} {
		if got, err := pick(from, Options{Platform: "linux/arm64"}); err != nil || got.ArtifactType != want {
			t.Errorf("%q, %v, want %q", got.ArtifactType, err, want)
		}
	}
	if _, err := pick(nil, Options{Platform: "linux/arm64"}); err == nil || err.Error() != "it is not there for linux/arm64" {
		t.Error(err)
	}
}

// TestRegistryErrors says what is wrong, and the cure.
func TestRegistryErrors(t *testing.T) {
	o, r, layers := options(t), imagetest.Serve(t), twoLayers(t)
	ref := r.Push(t, "app:1", imagetest.Image(t, layers...))
	check := func(ref, text, hint string) {
		t.Helper()
		img, err := Open(t.Context(), ref, o)
		if err == nil {
			_, err = readLayers(img)
			img.Close()
		}
		if err == nil || !strings.Contains(err.Error(), text) || !strings.Contains(errs.Hint(err), hint) {
			t.Errorf("%s: %v (%s)", ref, err, errs.Hint(err))
		}
	}
	check("", "not a reference", "python:3.13")
	check("UPPER:1", "not a reference", "python:3.13")
	check("no.such.host.invalid/app:1", `no registry "no.such.host.invalid": the host is unknown`, "spelling")
	check(r.Host+"/none:1", "has no such image", "the name and the tag")
	check(r.Host+"/app@sha256:"+strings.Repeat("0", 64), "has no such image", "the name and the tag")
	r.Tamper.Store(true)
	check(ref, "the download is not what was asked for: its digest is sha256:", "proxy")
	r.Tamper.Store(false)
	r.Busy.Store(1000)
	check(ref, "allows no more requests for now: slow down", "docker login "+r.Host)
	r.Busy.Store(0)
	r.Bearer = true
	check(ref, "refuses access", "docker login "+r.Host)
	r.Bearer, r.Basic = false, true
	check(ref, "refuses access", "docker login "+r.Host)
	r.Basic = false
	wantImage(t, ref, o, layers)
}

// TestIdle gives up on a registry that stops in the middle of an answer: of each kind.
func TestIdle(t *testing.T) {
	o, r, layers := options(t), imagetest.Serve(t), twoLayers(t)
	pushed := imagetest.Image(t, layers...)
	r.Push(t, "app:1", pushed)
	m, err := pushed.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	defer func(d time.Duration) { idleWait = d }(idleWait)
	idleWait = 100 * time.Millisecond
	for _, end := range []string{"/v2/", "/manifests/1", m.Config.Digest.String(), m.Layers[0].Digest.String()} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if !strings.HasSuffix(req.URL.Path, end) {
				r.ServeHTTP(w, req)
				return
			}
			w.Header().Set("Content-Length", "100000")
			w.(http.Flusher).Flush()
			<-req.Context().Done()
		}))
		img, err := Open(t.Context(), strings.TrimPrefix(s.URL, "http://")+"/app:1", o)
		if err == nil {
			_, err = readLayers(img)
			img.Close()
		}
		s.Close()
		if end == "/v2/" && err == nil {
			o.LayersDir = t.TempDir() // all that this answer says is in its header, so the layers have come
		} else if !errors.Is(err, errIdle) || !strings.Contains(errs.Hint(err), "network") {
			t.Errorf("%s: %v (%s)", end, err, errs.Hint(err))
		}
	}
}

// TestNoRoom names what frees room of images, too.
func TestNoRoom(t *testing.T) {
	err := checkRoom(t.Context(), t.TempDir(), 1<<60)
	if !errors.Is(err, errs.ErrHost) || !strings.Contains(errs.Hint(err), "noid image prune") {
		t.Errorf("%v (%s)", err, errs.Hint(err))
	}
}

// TestPlainHTTP refuses to speak HTTP with another host, before it dials.
func TestPlainHTTP(t *testing.T) {
	req, err := http.NewRequest(http.MethodGet, "http://192.0.2.1/v2/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newClient(false).RoundTrip(req); !errors.Is(err, errPlain) {
		t.Error(err)
	}
}

// redial has connections to an address made to the one that to returns.
func redial(t *testing.T, to func(address string) string) {
	t.Helper()
	transport := http.DefaultTransport.(*http.Transport)
	dial := transport.DialContext
	t.Cleanup(func() { transport.DialContext = dial })
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		return dial(ctx, network, to(address))
	}
}

// TestMirror asks a mirror for an image of Docker Hub: also one whose name has no dot, and never Docker Hub as if it was
// the mirror.
func TestMirror(t *testing.T) {
	o, r, layers := options(t), imagetest.Serve(t), twoLayers(t)
	img := imagetest.Image(t, layers...)
	r.Push(t, "library/app:1", img)
	redial(t, func(address string) string {
		if address != r.Host && address != "cache:80" && address != "cache:443" {
			t.Errorf("%s is asked", address)
		}
		return r.Host
	})
	for _, host := range []string{r.Host, "cache"} {
		o.Mirror = "http://" + host
		wantImage(t, "app:1", o, layers)
		wantImage(t, "app@"+imagetest.Digest(t, img), o, layers)
	}
}

// TestCanonical gives each image one name.
func TestCanonical(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("a", 64)
	for ref, want := range map[string]string{
		"python":                        "python:latest",
		"python:3.13":                   "python:3.13",
		"docker.io/library/python:3.13": "python:3.13",
		"index.docker.io/me/app":        "me/app:latest",
		"docker.io/library/a/b:1":       "library/a/b:1",
		"python:3.13" + digest:          "python" + digest,
		"ghcr.io/org/app":               "ghcr.io/org/app:latest",
		"localhost:5000/app":            "localhost:5000/app:latest",
		"oci:/tmp/dir":                  "oci:/tmp/dir",
		"docker-daemon:app:1":           "docker-daemon:app:1",
	} {
		got, err := Canonical(ref)
		if err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", ref, got, err, want)
		}
		if again, err := Canonical(got); again != got || err != nil {
			t.Errorf("%s becomes %s: %v", got, again, err)
		}
	}
}

// TestCertificate refuses a certificate that nobody vouches for, unless the user asks for it.
func TestCertificate(t *testing.T) {
	o, r, layers := options(t), imagetest.Serve(t), twoLayers(t)
	r.Push(t, "app:1", imagetest.Image(t, layers...))
	s := httptest.NewUnstartedServer(r)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	ref := strings.TrimPrefix(s.URL, "https://") + "/app:1"
	if _, err := Open(t.Context(), ref, o); err == nil || !strings.Contains(err.Error(), "does not trust") || !strings.Contains(errs.Hint(err), "--insecure") {
		t.Errorf("%v (%s)", err, errs.Hint(err))
	}
	o.Insecure = true
	wantImage(t, ref, o, layers)
}

// TestPodmanLogin finds what 'podman login' has written, beside docker's file, for a registry and for a part of one.
func TestPodmanLogin(t *testing.T) {
	o, r, layers := options(t), imagetest.Serve(t), twoLayers(t)
	ref := r.Push(t, "org/app:1", imagetest.Image(t, layers...))
	r.Bearer = true
	docker, podman := t.TempDir(), filepath.Join(t.TempDir(), "auth.json")
	t.Setenv("DOCKER_CONFIG", docker)
	t.Setenv("REGISTRY_AUTH_FILE", podman)
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(docker, "config.json"), `{"auths": {}}`)
	auth := base64.StdEncoding.EncodeToString([]byte(imagetest.User + ":" + imagetest.Password))
	for _, key := range []string{r.Host, r.Host + "/org", r.Host + "/org/app"} {
		write(podman, fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, key, auth))
		wantImage(t, ref, o, layers)
	}
	write(podman, fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, r.Host+"/other", auth))
	if _, err := Open(t.Context(), ref, o); !strings.Contains(errs.Hint(err), "docker login") {
		t.Error(err)
	}
	write(podman, fmt.Sprintf(`{"auths": {"docker.io": {"auth": %q}}}`, auth))
	hubRef, err := parse("app:1")
	if err != nil {
		t.Fatal(err)
	}
	found, err := credentials(t.Context(), hubRef.Context(), "docker.io")
	if err != nil {
		t.Fatal(err)
	}
	if c, err := found.Authorization(); err != nil || c.Username != imagetest.User || c.Password != imagetest.Password {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestCredentialHelper asks the helper that docker's file names.
func TestCredentialHelper(t *testing.T) {
	o, r, layers := options(t), imagetest.Serve(t), twoLayers(t)
	ref := r.Push(t, "app:1", imagetest.Image(t, layers...))
	r.Basic = true
	dir := t.TempDir()
	helper := fmt.Sprintf("#!/bin/sh\necho '{\"Username\": %q, \"Secret\": %q}'\n", imagetest.User, imagetest.Password)
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "docker-credential-test"), []byte(helper), 0o700),
		os.WriteFile(filepath.Join(dir, "config.json"), fmt.Appendf(nil, `{"credHelpers": {%q: "test"}}`, r.Host), 0o600)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCKER_CONFIG", dir)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	wantImage(t, ref, o, layers)
}

// TestReadWhileDownloading reads the beginning of a layer of which the registry holds the end back.
func TestReadWhileDownloading(t *testing.T) {
	o, r := options(t), imagetest.Serve(t)
	layer := string(imagetest.Tar(t, map[string]string{"file": noise(8 << 20)}))
	ref := r.Push(t, "app:1", imagetest.Image(t, []byte(layer)))
	goOn := make(chan struct{})
	r.Hold = goOn
	img, err := Open(t.Context(), ref, o)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	archive, err := img.Layers[0].Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	start := make([]byte, 1024)
	if _, err := io.ReadFull(archive, start); err != nil || string(start) != layer[:1024] {
		t.Fatal(err)
	}
	if img.Layers[0].Verified() {
		t.Error("half a layer is verified")
	}
	close(goOn)
	rest, err := io.ReadAll(archive)
	if err != nil || string(rest) != layer[1024:] || !img.Layers[0].Verified() {
		t.Errorf("%d bytes more: %v", len(rest), err)
	}
	if err := archive.Close(); err != nil {
		t.Error(err)
	}

	r.Hold = make(chan struct{}) // for ever: but who gives up is not held
	defer close(r.Hold)
	o.LayersDir = t.TempDir()
	img, err = Open(t.Context(), ref, o)
	if err != nil {
		t.Fatal(err)
	}
	if archive, err = img.Layers[0].Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	archive.Close()
	img.Close()
}
