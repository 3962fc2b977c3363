// Package page is the page that 'noid serve' shows in a browser: files that a browser runs as they are. It asks the API of
// package serve, as any client does, and has no other access.
package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed files
var files embed.FS

// Dir is before the paths of all files but the page itself, which is "/".
const Dir = "/page/"

// policy has the page load from its own server alone, run no script but its files, and be in no frame.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// kinds are the media types of the files.
var kinds = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".mjs":  "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
	".txt":  "text/plain; charset=utf-8",
}

// name is the file that is served at urlPath, "" for none.
func name(urlPath string) string {
	name := "index.html"
	if urlPath != "/" {
		rest, found := strings.CutPrefix(urlPath, Dir)
		if !found || rest == "index.html" {
			return ""
		}
		name = rest
	}
	name = path.Join("files", name)
	if info, err := fs.Stat(files, name); err != nil || info.IsDir() {
		return ""
	}
	return name
}

// Has reports whether the page has a file at urlPath.
func Has(urlPath string) bool { return name(urlPath) != "" }

// ServeHTTP serves the page's files. No file has anything of this machine's: the token is in the fragment of the address
// that the user opens, which a browser sends to nobody.
func ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := name(r.URL.Path)
	content, err := files.ReadFile(name)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	sum := sha256.Sum256(content)
	h := w.Header()
	h.Set("Content-Type", kinds[path.Ext(name)])
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-cache") // ask each time: another noid may answer
	h.Set("ETag", `"`+hex.EncodeToString(sum[:16])+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}
