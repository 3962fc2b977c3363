package serve

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// TestFiles reads and writes files, whole and in parts, and changes them.
func TestFiles(t *testing.T) {
	w := newWorld(t, "")
	w.do(201, "POST", "/v1/vms", map[string]any{"name": "a"}, nil)
	dir := t.TempDir() // the fake guest's files are this machine's
	at := func(op, name string) string { return "/v1/vms/a/files" + op + "?path=" + filepath.Join(dir, name) }
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	put := func(status int, path string, body io.Reader, headers ...string) {
		t.Helper()
		w.do(status, "PUT", path, body, nil, append(headers, "Content-Type: "+bytesType)...)
	}
	put(204, at("", "big")+"&mode=600", bytes.NewReader(big))
	put(204, at("", "chunked"), struct{ io.Reader }{bytes.NewReader(big)})
	put(204, at("", "empty"), bytes.NewReader(nil))
	for name, want := range map[string][]byte{"big": big, "chunked": big, "empty": nil} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if got := w.do(200, "GET", at("", name), nil, nil); got != string(want) {
			t.Errorf("%s: %d bytes are read", name, len(got))
		}
	}
	var f GuestFile
	if w.do(200, "GET", at("/stat", "big"), nil, &f); f.Size != int64(len(big)) || f.Mode != "0600" || f.Type != "file" {
		t.Errorf("stat: %+v", f)
	}
	for header, want := range map[string]string{"bytes=0-3": "0123", "bytes=16-17": "01", "bytes=-2": "ef", "bytes=1048574-": "ef", "bytes=1048575-2000000": "f", "bytes=-9999999": string(big)} {
		if got := w.do(206, "GET", at("", "big"), nil, nil, "Range: "+header); got != want {
			t.Errorf("%s: %d bytes", header, len(got))
		}
	}
	for _, header := range []string{"bytes=1048576-", "bytes=9999999-", "bytes=-0"} {
		w.refused(416, "usage", "GET", at("", "big"), nil, "Range: "+header)
	}
	for _, header := range []string{"bytes=0-1,3-4", "lines=1-2", "bytes=3-1", "bytes=x"} {
		w.do(200, "GET", at("", "big"), nil, nil, "Range: "+header)
	}
	a := w.request("HEAD", at("", "big"), nil)
	if a.Body.Close(); a.StatusCode != 200 || a.ContentLength != int64(len(big)) {
		t.Errorf("HEAD: %s, %d", a.Status, a.ContentLength)
	}
	if text := w.do(200, "GET", "/v1/vms/a/files?path=/proc/self/status", nil, nil); !strings.Contains(text, "Name:") {
		t.Errorf("/proc: %q", text)
	}

	w.do(200, "POST", "/v1/vms/a/files/mkdir", map[string]any{"path": dir + "/d/e", "parents": true}, nil)
	w.refused(409, "exists", "POST", "/v1/vms/a/files/mkdir", map[string]any{"path": dir + "/d"})
	w.do(200, "POST", "/v1/vms/a/files/rename", map[string]any{"from": dir + "/chunked", "to": dir + "/d/f"}, nil)
	var list FileList
	if w.do(200, "GET", at("/list", "d"), nil, &list); len(list.Files) != 2 || list.Files[0].Name != "e" || list.Files[0].Type != "dir" || list.Files[1].Name != "f" || list.Cut {
		t.Errorf("list: %+v", list)
	}
	if w.do(200, "GET", at("/list", "d")+"&max=1", nil, &list); len(list.Files) != 1 || !list.Cut {
		t.Errorf("one of the list: %+v", list)
	}
	w.refused(409, "state", "DELETE", at("", "d"), nil)
	w.refused(409, "state", "GET", at("", "d"), nil)
	w.refused(404, "not_found", "GET", at("", "none"), nil)
	w.refused(404, "not_found", "GET", at("/stat", "none"), nil)
	w.refused(400, "usage", "GET", "/v1/vms/a/files?path=relative", nil)
	w.refused(400, "usage", "GET", "/v1/vms/a/files", nil)

	w.do(200, "DELETE", at("", "d/f"), nil, nil)
	packed := w.do(200, "GET", at("/tar", "d"), nil, nil)
	h, err := tar.NewReader(strings.NewReader(packed)).Next()
	if err != nil || h.Name != "d/" {
		t.Errorf("tar: %+v, %v", h, err)
	}
	w.do(200, "DELETE", at("", "d")+"&recursive=true", nil, nil)
	w.do(204, "PUT", at("/tar", ""), strings.NewReader(packed), nil, "Content-Type: "+tarType)
	if info, err := os.Stat(filepath.Join(dir, "d/e")); err != nil || !info.IsDir() {
		t.Errorf("unpacked: %v, %v", info, err)
	}
	w.refused(422, "failed", "PUT", at("/tar", ""), strings.NewReader(strings.Repeat("x", 2000)), "Content-Type: "+tarType)
	w.refused(404, "not_found", "PUT", at("", "none/x"), strings.NewReader("x"), "Content-Type: "+bytesType)
}

// TestUploadBreaks leaves no file of a body that ends before its length.
func TestUploadBreaks(t *testing.T) {
	w := newWorld(t, "")
	w.do(201, "POST", "/v1/vms", map[string]any{"name": "a"}, nil)
	dir := t.TempDir()
	r, w1 := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		req, _ := http.NewRequestWithContext(t.Context(), "PUT", w.base+"/v1/vms/a/files?path="+dir+"/f", r)
		_, err := w.client.Do(req)
		sent <- err
	}()
	for range 64 {
		w1.Write(make([]byte, 64<<10))
	}
	w1.CloseWithError(io.ErrClosedPipe)
	if err := <-sent; err == nil {
		t.Error("a broken request has an answer")
	}
	w.until("nothing is left", func() bool {
		left, err := os.ReadDir(dir)
		return err == nil && len(left) == 0
	})
}

// TestTarOfSome: a tar of a directory with a socket has the rest, and its header or trailer says what it lacks.
func TestTarOfSome(t *testing.T) {
	w := newWorld(t, "")
	w.do(201, "POST", "/v1/vms", map[string]any{"name": "a"}, nil)
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.WriteFile(filepath.Join(dir, "text"), []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	a := w.request("GET", "/v1/vms/a/files/tar?path="+dir, nil)
	defer a.Body.Close()
	var names []string
	for r := tar.NewReader(a.Body); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		names = append(names, filepath.Base(h.Name))
	}
	if _, err := io.Copy(io.Discard, a.Body); err != nil || !slices.Contains(names, "text") || slices.Contains(names, "socket") {
		t.Errorf("%q, %v", names, err)
	}
	warnings := append(a.Header.Values(warnHeader), a.Trailer.Values(warnHeader)...) // it may come before the first byte
	if says := strings.Join(warnings, "\n"); !strings.Contains(says, "socket") {
		t.Errorf("it says %q", says)
	}
}

// TestWarnAtOnce: several goroutines warn while the answer is being written.
func TestWarnAtOnce(t *testing.T) {
	w := httptest.NewRecorder()
	c := &call{w: w}
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() { c.warn(fmt.Sprint(i)) })
	}
	c.tellWarnings(w.Header(), warnHeader)
	all.Wait()
	c.tellWarnings(w.Header(), warnHeader)
	if n := len(w.Header().Values(warnHeader)); n == 0 || n > 2*maxWarnings {
		t.Errorf("%d warnings", n)
	}
}
