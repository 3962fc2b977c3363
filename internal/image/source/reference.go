package source

import (
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"noid/internal/errs"
)

// hub is what go-containerregistry calls Docker Hub.
const hub = name.DefaultRegistry

// Canonical returns the one form of ref that noid records: an image at a registry is called as docker shows it
// ("python:3.13" for docker.io/library/python:3.13), a file by its absolute path. A ref that is none is errs.ErrUsage.
func Canonical(ref string) (string, error) {
	if kind, rest := Split(ref); kind != "" {
		if !IsFile(ref) || rest == "" {
			return ref, nil
		}
		path, err := filepath.Abs(rest)
		return kind + ":" + path, err
	}
	r, err := parse(ref)
	if err != nil {
		return "", err
	}
	text := strings.TrimPrefix(r.Name(), hub+"/")
	if short, ok := strings.CutPrefix(text, "library/"); ok && !strings.Contains(short, "/") {
		return short, nil
	}
	return text, nil
}

// parse reads a reference to a registry, with docker's defaults.
func parse(ref string, o ...name.Option) (name.Reference, error) {
	r, err := name.ParseReference(ref, o...)
	if err != nil {
		return nil, errs.New(errs.ErrUsage, "%.200q is not a reference to an image: write [REGISTRY/]NAME[:TAG|@DIGEST]", ref).Hint(
			"such as python:3.13 or ghcr.io/org/app:1; 'noid image pull --help' names the other sources")
	}
	return r, nil
}
