package source

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"noid/internal/errs"
	"noid/internal/lazy"
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

// component is a path-component of github.com/distribution/reference, which the library does not insist on.
var component = lazy.Regexp(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$`)

// parse reads a reference to a registry, with docker's defaults.
func parse(ref string, o ...name.Option) (name.Reference, error) {
	r, err := name.ParseReference(ref, o...)
	if err != nil || strings.ContainsAny(r.Context().RegistryStr()[:1], ".-") || slices.ContainsFunc(strings.Split(r.Context().RepositoryStr(), "/"),
		func(part string) bool { return !component().MatchString(part) }) {
		return nil, errs.New(errs.ErrUsage, "%.200q is not a reference to an image: write [REGISTRY/]NAME[:TAG|@DIGEST]", ref).Hint(
			"such as python:3.13 or ghcr.io/org/app:1; 'noid image pull --help' names the other sources")
	}
	return r, nil
}
