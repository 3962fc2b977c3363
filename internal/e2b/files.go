package e2b

import (
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"path"
	"strconv"
	"strings"

	"noid/internal/api"
	"noid/internal/errs"
	"noid/internal/untrusted"
	"noid/internal/vm"
)

// written is a file that was written.
type written struct {
	Name string `json:"name"`
	Type string `json:"type"`
	Path string `json:"path"`
}

// maxFiles bounds the files of one upload.
const maxFiles = 1000

// metadataHeader begins the headers with metadata of a file.
const metadataHeader = "X-Metadata-"

func (h *Handler) addFiles() {
	h.mux.HandleFunc("GET "+Path+"/health", func(w http.ResponseWriter, r *http.Request) {
		if err := h.guest(r, func(context.Context, *call) error { return nil }); err != nil {
			h.Refuse(w, err)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	h.mux.HandleFunc("GET "+Path+"/files", h.readFile)
	h.mux.HandleFunc("POST "+Path+"/files", h.writeFiles)
}

func (h *Handler) readFile(w http.ResponseWriter, r *http.Request) {
	begun := false
	err := h.guest(r, func(ctx context.Context, c *call) error {
		c.user = r.URL.Query().Get("username")
		p, err := c.path(ctx, r.URL.Query().Get("path"))
		if err != nil {
			return err
		}
		err = c.m.ReadFile(ctx, c.at(p), 0, -1, api.BootWait, func(part vm.FilePart) (io.Writer, error) {
			begun = true
			w.Header().Set("Content-Type", "application/octet-stream")
			if part.Length >= 0 {
				w.Header().Set("Content-Length", strconv.FormatInt(part.Length, 10))
			}
			w.WriteHeader(http.StatusOK)
			return w, nil
		})
		return fileError(err)
	})
	switch {
	case err != nil && begun: // the client sees that it is not whole
		panic(http.ErrAbortHandler)
	case err != nil:
		h.Refuse(w, err)
	}
}

// fileError is err, of which the state that a file is in is the client's fault.
func fileError(err error) error {
	if errors.Is(err, errs.ErrState) {
		return errs.New(errs.ErrUsage, "%v", err).Hint(errs.Hint(err))
	}
	return err
}

func (h *Handler) writeFiles(w http.ResponseWriter, r *http.Request) {
	list := []written{}
	err := h.guest(r, func(ctx context.Context, c *call) error {
		for key := range r.Header {
			if strings.HasPrefix(key, metadataHeader) {
				return unserved("metadata of files")
			}
		}
		c.user = r.URL.Query().Get("username")
		return c.eachUpload(h.o.Body(w, r), func(name string, content io.Reader) error {
			p, err := c.path(ctx, name)
			if err == nil {
				err = c.write(ctx, p, upload{content})
			}
			list = append(list, written{path.Base(p), "file", p})
			return fileError(err)
		})
	})
	if err != nil {
		h.Refuse(w, err)
		return
	}
	answer(w, http.StatusOK, list)
}

// upload is the content of a file that a client sends. That it is not whole, as gzip or a form has it, is the client's fault.
type upload struct{ r io.Reader }

// Read implements io.Reader.
func (u upload) Read(b []byte) (int, error) {
	n, err := u.r.Read(b)
	if err != nil && err != io.EOF {
		err = errs.New(errs.ErrUsage, "the content: %v", err).Hint("send all of it again")
	}
	return n, err
}

// eachUpload calls each for the files of a body: one alone, or those of a form, each with its path.
func (c *call) eachUpload(body io.Reader, each func(name string, content io.Reader) error) error {
	to := c.r.URL.Query().Get("path")
	kind, params, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if err != nil {
		return errs.New(errs.ErrUsage, "Content-Type: %v", err)
	}
	switch encoding := c.r.Header.Get("Content-Encoding"); encoding {
	case "", "identity":
	case "gzip":
		unzipped, err := gzip.NewReader(body)
		if err != nil {
			return errs.New(errs.ErrUsage, "the body is not compressed with gzip: %v", err)
		}
		body = unzipped
	default:
		return unserved("uploads compressed with %.40q", encoding)
	}
	if kind != "multipart/form-data" {
		if to == "" {
			return errs.New(errs.ErrUsage, "no path for the file")
		}
		return each(to, body)
	}
	form := multipart.NewReader(body, params["boundary"])
	for n := 0; ; n++ {
		part, err := form.NextPart()
		switch {
		case err == io.EOF && n == 0:
			return errs.New(errs.ErrUsage, "the form has no file")
		case err == io.EOF:
			return nil
		case err != nil:
			return errs.New(errs.ErrUsage, "the form: %v", err)
		case n == maxFiles:
			return errs.New(errs.ErrUsage, "the form has more than %d files", maxFiles)
		}
		_, disposition, err := mime.ParseMediaType(part.Header.Get("Content-Disposition")) // Part.FileName leaves the directory out
		name := cmp.Or(to, disposition["filename"])
		if err != nil || name == "" {
			return errs.New(errs.ErrUsage, "a file of the form has no path")
		}
		if err := each(name, part); err != nil {
			return err
		}
	}
}

// write writes a file, and makes the directories on the way to it.
func (c *call) write(ctx context.Context, p string, content io.Reader) error {
	if p == "/" || p == "" {
		return errs.New(errs.ErrUsage, "path: %q is no file", p)
	}
	if !c.isRoot() {
		return c.script(ctx, `d=${1%/*}; { [ -d "${d:=/}" ] || mkdir -p -- "$d"; } && cat >"$1"`, p, content)
	}
	i, err := c.m.StatFile(ctx, c.at(p), api.BootWait)
	if errors.Is(err, errs.ErrNotFound) {
		err = c.m.MakeDir(ctx, c.at(path.Dir(p)), 0o755, true, api.BootWait)
	}
	if err == nil && i.Type == "dir" { // a copy would go into it
		err = errs.New(errs.ErrUsage, "%s is a directory", untrusted.Line(p, 200))
	}
	if err != nil {
		return err
	}
	return c.m.Copy(ctx, []vm.Place{{Path: p, File: content, Mode: 0o644}}, c.at(p), vm.CopyOptions{Wait: api.BootWait})
}
