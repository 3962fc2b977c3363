package source

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	ocilayout "github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/image/imagetest"
)

// run runs a program that every host for tests has.
func run(t *testing.T, program string, args ...string) {
	t.Helper()
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", program, args, err, out)
	}
}

// saveLayout writes img as an OCI layout into a new directory.
func saveLayout(t *testing.T, img v1.Image) string {
	t.Helper()
	dir := t.TempDir()
	p, err := ocilayout.Write(dir, empty.Index)
	if err == nil {
		err = p.AppendImage(img)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// saveDocker writes img as 'docker save' does.
func saveDocker(t *testing.T, img v1.Image) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image.tar")
	tag, err := name.NewTag("app:1")
	if err == nil {
		err = tarball.WriteToFile(file, tag, img)
	}
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// TestArchives reads what docker, podman and skopeo save, packed in each way.
func TestArchives(t *testing.T) {
	o, layers := options(t), twoLayers(t)
	img := imagetest.Image(t, layers...)
	dir, file := saveLayout(t, img), saveDocker(t, img)
	archive := filepath.Join(t.TempDir(), "oci.tar")
	run(t, "tar", "-C", dir, "-cf", archive, ".")
	config, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	refs := map[string]string{"oci:" + dir: imagetest.Digest(t, img), "oci-archive:" + archive: imagetest.Digest(t, img), "docker-archive:" + file: config.String()}
	for kind, file := range map[string]string{"oci-archive": archive, "docker-archive": file} {
		for _, packer := range []string{"gzip", "xz", "zstd", "bzip2"} {
			run(t, packer, "-k", file)
			packed := file + map[string]string{"gzip": ".gz", "xz": ".xz", "zstd": ".zst", "bzip2": ".bz2"}[packer]
			refs[kind+":"+packed] = refs[kind+":"+file]
		}
	}
	for ref, digest := range refs {
		got := wantImage(t, ref, o, layers)
		if diff := cmp.Diff(wantConfig, got.Config); diff != "" {
			t.Errorf("%s: %s", ref, diff)
		}
		if got.Digest != digest {
			t.Errorf("%s: digest %s, want %s", ref, got.Digest, digest)
		}
	}
	if left, _ := os.ReadDir(o.LayersDir); len(left) > 0 {
		t.Errorf("%s is left", left)
	}
}

// TestTrees makes an image of a directory, by a link to it too, and of the archives that tar makes of it.
func TestTrees(t *testing.T) {
	o, dir := options(t), t.TempDir()
	for _, err := range []error{
		os.MkdirAll(filepath.Join(dir, "etc/deep"), 0o750),
		os.WriteFile(filepath.Join(dir, "etc/motd"), []byte("hello"), 0o640),
		os.Link(filepath.Join(dir, "etc/motd"), filepath.Join(dir, "etc/motd2")),
		os.Symlink("motd", filepath.Join(dir, "etc/link")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	plain := filepath.Join(t.TempDir(), "root.tar")
	run(t, "tar", "-C", dir, "-cf", plain, ".")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	refs := []string{"dir:" + dir, "dir:" + link, "tar:" + plain}
	for packer, end := range map[string]string{"gzip": ".gz", "xz": ".xz", "zstd": ".zst"} {
		run(t, packer, "-k", plain)
		refs = append(refs, "tar:"+plain+end)
	}
	for _, ref := range refs {
		img, err := Open(t.Context(), ref, o)
		if err != nil {
			t.Fatal(err)
		}
		defer img.Close()
		again, err := Open(t.Context(), ref, o)
		if err != nil || again.Digest != img.Digest {
			t.Errorf("%s: %v, %v", ref, again, err)
		}
		again.Close()
		all, err := readLayers(img)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]string{"./": "", "etc/": "", "etc/deep/": "", "etc/motd": "hello", "etc/motd2": "-> etc/motd", "etc/link": "-> motd"}, listing(t, all[0])); diff != "" {
			t.Errorf("%s: %s", ref, diff)
		}
		if !strings.HasPrefix(ref, "dir:") && img.Digest != digestOf(all[0]) {
			t.Errorf("%s: digest %s", ref, img.Digest)
		}
	}
}

// TestTreeFaults names what is wrong with a directory: that it changes, and an attribute that no archive can have.
func TestTreeFaults(t *testing.T) {
	o, dir := options(t), t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	img, err := Open(t.Context(), "dir:"+dir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	if err := os.WriteFile(file, []byte("two"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readLayers(img); err == nil || !strings.Contains(err.Error(), "it has changed") || !strings.Contains(errs.Hint(err), "try again") {
		t.Errorf("%v (%s)", err, errs.Hint(err))
	}
	if err := unix.Setxattr(file, "user.a=b", []byte("value"), 0); errors.Is(err, unix.ENOTSUP) {
		return // this file system has no attributes
	} else if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), "dir:"+dir, o); err == nil || !strings.Contains(err.Error(), file+`: no tar archive can have its attribute "user.a=b"`) {
		t.Error(err)
	}
}

// listing is what is in an archive: contents, or where a link leads to.
func listing(t *testing.T, data []byte) map[string]string {
	t.Helper()
	found := map[string]string{}
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return found
		} else if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		clean := func(s string) string {
			if s == "./" {
				return s
			}
			return strings.TrimPrefix(s, "./")
		}
		found[clean(h.Name)] = string(text)
		if h.Linkname != "" {
			found[clean(h.Name)] = "-> " + clean(h.Linkname)
		}
	}
}

// TestDaemons has a daemon save an image.
func TestDaemons(t *testing.T) {
	o, layers := options(t), twoLayers(t)
	file := saveDocker(t, imagetest.Image(t, layers...))
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "podman"), 0o700); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "podman/podman.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path != "/images/get" || req.URL.Query().Get("names") != "me/app:1" {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"message": "no such image"}`)
			return
		}
		http.ServeFile(w, req, file)
	})}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	t.Setenv("XDG_RUNTIME_DIR", dir)
	t.Setenv("DOCKER_HOST", "unix://"+socket)
	wantImage(t, "podman:me/app:1", o, layers)
	wantImage(t, "docker-daemon:me/app:1", o, layers)
	defer func(path string) { dockerSocket = path }(dockerSocket)
	dockerSocket = filepath.Join(dir, "none")
	if err := os.Symlink(socket, filepath.Join(dir, "docker.sock")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCKER_HOST", "")
	wantImage(t, "docker-daemon:me/app:1", o, layers)
	if _, err := Open(t.Context(), "docker-daemon:other", o); !errors.Is(err, errs.ErrNotFound) || errs.Hint(err) != "docker pull other" {
		t.Errorf("%v (%s)", err, errs.Hint(err))
	}
	t.Setenv("DOCKER_HOST", "unix://"+filepath.Join(dir, "none"))
	if _, err := Open(t.Context(), "docker-daemon:me/app:1", o); !errors.Is(err, errs.ErrHost) || !strings.HasPrefix(errs.Hint(err), "start it; or: docker save me/app:1") {
		t.Errorf("%v (%s)", err, errs.Hint(err))
	}
	refused := &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", unix.EACCES)}
	if err := noAnswer("docker", "app", refused); !strings.HasPrefix(errs.Hint(err), "add yourself to group docker; or: ") {
		t.Errorf("%v (%s)", err, errs.Hint(err))
	}
}

// TestForeignText has an image and a daemon write lines of their own, and to the terminal.
func TestForeignText(t *testing.T) {
	o := options(t)
	lie := "x\nnoid: all is well\x1b[31m"
	want := `x noid: all is well\x1b[31m`
	socket := filepath.Join(t.TempDir(), "docker.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		json.NewEncoder(w).Encode(map[string]string{"message": lie})
	}))
	server.Listener.Close()
	server.Listener = l
	server.Start()
	defer server.Close()
	t.Setenv("DOCKER_HOST", "unix://"+socket)
	img := imagetest.For(t, imagetest.Image(t, twoLayers(t)...), lie)
	for _, ref := range []string{"docker-daemon:app", "oci:" + saveLayout(t, img), "docker-archive:" + saveDocker(t, img)} {
		if _, err := Open(t.Context(), ref, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", ref, err)
		}
	}
	if err := explain(&transport.Error{Errors: []transport.Diagnostic{{Message: lie}}, StatusCode: http.StatusNotFound}, "host"); !strings.Contains(err.Error(), want) {
		t.Error(err)
	}
}

// TestWrongFiles names what is wrong with a file, and the cure.
func TestWrongFiles(t *testing.T) {
	o, layers, dir := options(t), twoLayers(t), t.TempDir()
	write := func(name string, data []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	img := imagetest.Image(t, layers...)
	damaged := saveLayout(t, img)
	if err := filepath.WalkDir(damaged, func(path string, d fs.DirEntry, err error) error {
		data, readErr := os.ReadFile(path)
		if readErr == nil && bytes.HasPrefix(data, []byte("\x1f\x8b")) {
			data[len(data)/2] ^= 1
			err = os.WriteFile(path, data, 0o600)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	escaping := saveLayout(t, img)
	if err := errors.Join(os.RemoveAll(filepath.Join(escaping, "blobs/sha256")), os.Symlink(filepath.Join(saveLayout(t, img), "blobs/sha256"), filepath.Join(escaping, "blobs/sha256"))); err != nil {
		t.Fatal(err)
	}
	root := write("root.tar", layers[0])
	for _, c := range []struct {
		ref, text, hint string
		kind            error
	}{
		{"oci-archive:" + dir + "/none", "no file", "", errs.ErrNotFound},
		{"oci:" + dir + "/none", "no directory", "", errs.ErrNotFound},
		{"dir:" + dir + "/none", "no directory", "", errs.ErrNotFound},
		{"tar:" + dir, "not a regular file", "oci:DIR", errs.ErrUsage},
		{"dir:" + root, "not a directory", "tar:FILE", errs.ErrUsage},
		{"oci:" + dir, "no index.json", "dir:PATH", errs.ErrUsage},
		{"docker-archive:" + root, "neither index.json nor manifest.json", "tar:FILE", errs.ErrUsage},
		{"tar:" + write("text", []byte("hello")), "no tar archive", "", nil},
		{"oci-archive:" + write("text", []byte("hello")), "", "", nil},
		{"oci:", "no path", "", errs.ErrUsage},
		{"oci:" + damaged, "it is damaged", "", nil},
		{"oci:" + escaping, "path escapes", "", nil},
		{"tar:" + write("bomb", bytes.Repeat([]byte{0xfd, '7', 'z', 'X', 'Z', 0}, 200)), "reading the archive", "", nil},
	} {
		img, err := Open(t.Context(), c.ref, o)
		if err == nil {
			_, err = readLayers(img)
			img.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.text) || !strings.Contains(errs.Hint(err), c.hint) || c.kind != nil && !errors.Is(err, c.kind) {
			t.Errorf("%s: %v (%s)", c.ref, err, errs.Hint(err))
		}
	}
}

// TestTreeBomb refuses a small file that unpacks to more than the limit.
func TestTreeBomb(t *testing.T) {
	o := options(t)
	file := filepath.Join(t.TempDir(), "bomb")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Truncate(file, 8<<20)); err != nil {
		t.Fatal(err)
	}
	run(t, "zstd", "-q", file)
	defer func(n int64) { maxArchive = n }(maxArchive)
	for _, maxArchive = range []int64{8 << 20, 8<<20 - 1} {
		img, err := Open(t.Context(), "tar:"+file+".zst", o)
		if allowed := maxArchive == 8<<20; allowed != (err == nil) || err != nil && !strings.Contains(err.Error(), "more than") {
			t.Errorf("%d bytes allowed: %v", maxArchive, err)
		}
		if err == nil {
			img.Close()
		}
	}
}

// TestChangedLayer changes a file between two readings of its layer: the second is checked as the first was.
func TestChangedLayer(t *testing.T) {
	o, layers := options(t), twoLayers(t)
	dir := saveLayout(t, imagetest.Image(t, layers...))
	img := wantImage(t, "oci:"+dir, o, layers)
	path := func(l *Layer) string { return filepath.Join(dir, "blobs", strings.Replace(l.Digest, ":", "/", 1)) }
	if err := os.Rename(path(img.Layers[0]), path(img.Layers[1])); err != nil {
		t.Fatal(err)
	}
	_, err := readLayers(img)
	if wrong, ok := errors.AsType[*DigestError](err); !ok || wrong.Got != digestOf(layers[0]) {
		t.Error(err)
	}
}

// TestTwoReadings refuses what is two things at once: its digest would be of two images.
func TestTwoReadings(t *testing.T) {
	both := []byte(`{"schemaVersion": 2, "layers": [{}], "manifests": [{}]}`)
	for _, mediaType := range []types.MediaType{types.OCIImageIndex, types.OCIManifestSchema1, ""} {
		if _, _, err := choose(t.Context(), nil, v1.Descriptor{MediaType: mediaType}, both, Options{}); err == nil || !strings.Contains(err.Error(), "in two ways") {
			t.Errorf("%q: %v", mediaType, err)
		}
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"manifest.json": `[{"Config": "config", "Layers": ["layer"]}]`,
		"config":        `{"schemaVersion": 2, "rootfs": {"type": "layers", "diff_ids": ["sha256:` + strings.Repeat("a", 64) + `"]}}`,
		"layer":         "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "image.tar")
	run(t, "tar", "-C", dir, "-cf", file, ".")
	if _, err := Open(t.Context(), "docker-archive:"+file, options(t)); err == nil || !strings.Contains(err.Error(), "is a manifest, too") {
		t.Error(err)
	}
}

// TestWrongDiffID finds an archive that is not the one of the configuration, though its compressed bytes are.
func TestWrongDiffID(t *testing.T) {
	layers := twoLayers(t)
	l := &Layer{Digest: digestOf(layers[0]), DiffID: digestOf(layers[1]), raw: fileOf(layers[0])}
	r, err := l.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	io.CopyN(io.Discard, r, 512)
	err = r.Close() // reads what is left
	if wrong, ok := errors.AsType[*DigestError](err); !ok || wrong.Got != digestOf(layers[0]) || l.Verified() {
		t.Error(err)
	}
}

func fileOf(data []byte) func(context.Context) (io.ReadCloser, error) {
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
}
