package page

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"strings"
	"testing"
)

func get(t *testing.T, urlPath, tag string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, urlPath, nil)
	if tag != "" {
		r.Header.Set("If-None-Match", tag)
	}
	w := httptest.NewRecorder()
	ServeHTTP(w, r)
	return w.Result()
}

func TestServes(t *testing.T) {
	for urlPath, kind := range map[string]string{"/": "text/html", Dir + "main.js": "text/javascript", Dir + "vendor/xterm.mjs": "text/javascript", Dir + "style.css": "text/css"} {
		a := get(t, urlPath, "")
		if !Has(urlPath) || a.StatusCode != http.StatusOK || !strings.HasPrefix(a.Header.Get("Content-Type"), kind) {
			t.Errorf("%s: %v, %s %v", urlPath, Has(urlPath), a.Status, a.Header)
		}
		if a.Header.Get("Content-Security-Policy") != policy {
			t.Errorf("%s: policy %q", urlPath, a.Header.Get("Content-Security-Policy"))
		}
		if again := get(t, urlPath, a.Header.Get("ETag")); again.StatusCode != http.StatusNotModified {
			t.Errorf("%s again: %s", urlPath, again.Status)
		}
	}
	for _, urlPath := range []string{"/page", Dir, Dir + "vendor", Dir + "index.html", Dir + "../page.go", Dir + "no.js", "/main.js"} {
		if a := get(t, urlPath, ""); Has(urlPath) || a.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %v, %s", urlPath, Has(urlPath), a.Status)
		}
	}
}

// TestOwnFiles: what the files name is there, has a media type, and is text that the policy lets through.
func TestOwnFiles(t *testing.T) {
	imports := regexp.MustCompile(`(?m)^(?:import|export) .*from '(.*)';$`)
	err := fs.WalkDir(files, "files", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if kinds[path.Ext(name)] == "" {
			t.Errorf("%s has no media type", name)
		}
		if path.Base(path.Dir(name)) == "vendor" {
			return nil
		}
		content, err := files.ReadFile(name)
		text := string(content)
		for _, m := range imports.FindAllStringSubmatch(text, -1) {
			if !strings.HasPrefix(m[1], "./") || !Has(path.Join(Dir, strings.TrimPrefix(path.Join(path.Dir(name), m[1]), "files/"))) {
				t.Errorf("%s imports %s, which is not there", name, m[1])
			}
		}
		for _, bad := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", " style=", " onclick="} {
			if strings.Contains(text, bad) {
				t.Errorf("%s has %s", name, bad)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
