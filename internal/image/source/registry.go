package source

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"noid/internal/errs"
	"noid/internal/untrusted"
)

// manifestTypes are what a registry is asked for.
var manifestTypes = strings.Join([]string{string(types.OCIImageIndex), string(types.DockerManifestList), string(types.OCIManifestSchema1),
	string(types.DockerManifestSchema2)}, ", ")

// registry is one repository of a registry, as a store. It logs in when it is made.
type registry struct {
	repo   name.Repository
	client *http.Client
	cache  *cache
}

// openRegistry finds an image at a registry: on Docker Hub's mirror first, if there is one.
func openRegistry(ctx context.Context, ref string, o Options) (*Image, error) {
	r, err := parse(ref)
	if err != nil {
		return nil, err
	}
	if o.Mirror != "" && r.Context().RegistryStr() == hub {
		if img, err := openMirror(ctx, r, o); err == nil || ctx.Err() != nil {
			return img, err
		}
	}
	return pull(ctx, r.Context(), r.Identifier(), o)
}

// openMirror finds an image of Docker Hub on the mirror.
func openMirror(ctx context.Context, r name.Reference, o Options) (*Image, error) {
	scheme, host, ok := strings.Cut(o.Mirror, "://")
	if !ok {
		scheme, host = "https", o.Mirror
	}
	o.Insecure = o.Insecure || scheme == "http"
	reg, err := name.NewRegistry(strings.TrimSuffix(host, "/")) // parse takes a host without a dot for a part of the repository
	if err != nil {
		return nil, err
	}
	return pull(ctx, reg.Repo(r.Context().RepositoryStr()), r.Identifier(), o)
}

// pull finds the image of the repository that has the tag or digest id.
func pull(ctx context.Context, repo name.Repository, id string, o Options) (*Image, error) {
	if o.Insecure {
		repo.Registry, _ = name.NewRegistry(repo.RegistryStr(), name.Insecure) // it is one
	}
	host := hostOf(repo)
	s := &registry{repo: repo}
	auth, err := credentials(ctx, repo, host)
	if err != nil {
		return nil, err
	}
	t, err := transport.NewWithContext(ctx, repo.Registry, auth, newClient(o.Insecure), []string{repo.Scope(transport.PullScope)})
	if err != nil {
		return nil, explain(err, host)
	}
	s.client = &http.Client{Transport: t}
	d, data, err := s.manifest(ctx, id)
	if err != nil {
		return nil, explain(err, host)
	}
	s.cache = newCache(o.LayersDir, o.Progress)
	img, err := readImage(ctx, s, d, data, o)
	if err != nil {
		s.cache.close()
		return nil, explain(err, host)
	}
	img.close = s.cache.close
	return img, nil
}

// get asks for a part of the repository, from the byte offset on. Close the answer's body.
func (s *registry) get(ctx context.Context, kind, id, accept string, offset int64) (*http.Response, error) {
	url := fmt.Sprintf("%s://%s/v2/%s/%s/%s", s.repo.Scheme(), s.repo.RegistryStr(), s.repo.RepositoryStr(), kind, id)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	if err := transport.CheckError(resp, http.StatusOK, http.StatusPartialContent); err != nil {
		resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

// manifest reads the manifest or index with the tag or digest id.
func (s *registry) manifest(ctx context.Context, id string) (v1.Descriptor, []byte, error) {
	resp, err := s.get(ctx, "manifests", id, manifestTypes, 0)
	if err != nil {
		return v1.Descriptor{}, nil, err
	}
	defer resp.Body.Close()
	want := ""
	if strings.Contains(id, ":") {
		want = id
	}
	data, err := readAll(resp.Body, want, maxManifest)
	if err != nil {
		return v1.Descriptor{}, nil, fmt.Errorf("reading the manifest: %w", err)
	}
	if want == "" {
		want = digestOf(data)
	}
	digest, err := v1.NewHash(want)
	return v1.Descriptor{Digest: digest, MediaType: types.MediaType(resp.Header.Get("Content-Type")), Size: int64(len(data))}, data, err
}

func (s *registry) small(ctx context.Context, d v1.Descriptor, max int64) ([]byte, error) {
	if d.MediaType.IsImage() || d.MediaType.IsIndex() {
		_, data, err := s.manifest(ctx, d.Digest.String())
		return data, err
	}
	resp, err := s.get(ctx, "blobs", d.Digest.String(), "", 0)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return readAll(resp.Body, d.Digest.String(), max)
}

func (s *registry) layer(d v1.Descriptor, diffID string) *Layer {
	get := s.cache.add(d.Digest.String(), d.Size, func(ctx context.Context, offset int64) (io.ReadCloser, int64, error) {
		resp, err := s.get(ctx, "blobs", d.Digest.String(), "", offset)
		if err != nil {
			return nil, 0, explain(err, hostOf(s.repo))
		}
		if resp.StatusCode == http.StatusOK {
			offset = 0 // this registry sends all, whatever it is asked for
		}
		return resp.Body, offset, nil
	})
	return &Layer{Digest: d.Digest.String(), DiffID: diffID, Size: d.Size, raw: get, download: true, damaged: func() { s.cache.drop(d.Digest.String()) }}
}

// explain says what an error of the registry host means, and its cure.
func explain(err error, host string) error {
	if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
		return errs.New(err, "there is no registry %q: the host is unknown", host).Hint("check the spelling and the network; without one, see 'noid image import --help'")
	}
	if errors.Is(err, errPlain) {
		return errs.WithHint(fmt.Errorf("registry %q does not answer by HTTPS: %w", host, err), "if you trust the network, give --insecure")
	}
	if bad, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return errs.WithHint(fmt.Errorf("registry %q has a certificate that this host does not trust: %w", host, bad.Err), "add its CA to the certificates of this host, or give --insecure")
	}
	answer, ok := errors.AsType[*transport.Error](err)
	if !ok {
		return err
	}
	said := saidBy(answer)
	switch answer.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return errs.WithHint(fmt.Errorf("registry %q refuses access, or has no such image%s", host, said), "check the name; a private image needs a log-in: docker login "+host)
	case http.StatusNotFound:
		return errs.New(errs.ErrNotFound, "registry %q has no such image%s", host, said).Hint("check the name and the tag")
	case http.StatusTooManyRequests:
		return errs.WithHint(fmt.Errorf("registry %q allows no more requests for now%s", host, said), "wait, or log in for a higher limit: docker login "+host)
	}
	return fmt.Errorf("registry %q: %s%s", host, http.StatusText(answer.StatusCode), said)
}

// saidBy is what the registry says of its error.
func saidBy(e *transport.Error) string {
	if len(e.Errors) == 0 {
		return fmt.Sprintf(" (HTTP %d)", e.StatusCode)
	}
	return ": " + untrusted.Line(e.Errors[0].Message, 200)
}
