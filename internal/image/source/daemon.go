package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"noid/internal/errs"
	"noid/internal/untrusted"
)

// openDocker finds an image that docker has.
func openDocker(ctx context.Context, ref string, o Options) (*Image, error) {
	socket, remote := "/var/run/docker.sock", os.Getenv("DOCKER_HOST")
	if path, ok := strings.CutPrefix(remote, "unix://"); ok {
		socket = path
	} else if remote != "" {
		return nil, errs.New(errs.ErrHost, "DOCKER_HOST is %q: noid asks docker over a socket alone", remote).Hint("docker save " + ref + " -o FILE, and docker-archive:FILE")
	}
	return openDaemon(ctx, "docker", []string{socket}, ref, o)
}

// openPodman finds an image that podman has, by its service, which answers as docker does.
func openPodman(ctx context.Context, ref string, o Options) (*Image, error) {
	sockets := []string{"/run/podman/podman.sock"}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		sockets = append([]string{filepath.Join(dir, "podman/podman.sock")}, sockets...)
	}
	return openDaemon(ctx, "podman", sockets, ref, o)
}

// openDaemon has the program of the first socket that is there save the image.
func openDaemon(ctx context.Context, program string, sockets []string, ref string, o Options) (*Image, error) {
	var conn net.Conn
	var err error
	for _, socket := range sockets {
		if conn, err = (&net.Dialer{}).DialContext(ctx, "unix", socket); err == nil {
			conn.Close()
			return saved(ctx, program, socket, ref, o)
		}
	}
	cure := "start it, or: " + program + " save " + ref + " -o FILE, and docker-archive:FILE"
	if program == "podman" {
		cure = "systemctl --user start podman.socket; or: podman save " + ref + " -o FILE, and docker-archive:FILE"
	}
	return nil, errs.New(errs.ErrHost, "%s does not answer: %w", program, err).Hint(cure)
}

// saved reads the archive that the program at socket makes of the image.
func saved(ctx context.Context, program, socket, ref string, o Options) (*Image, error) {
	t := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	defer t.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/images/get?names="+url.QueryEscape(ref), nil)
	if err != nil {
		return nil, err
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w", program, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, daemonError(program, ref, resp)
	}
	f, err := keep(ctx, resp.Body, o)
	if err != nil {
		return nil, err
	}
	return readArchive(ctx, f, o)
}

func daemonError(program, ref string, resp *http.Response) error {
	var answer struct{ Message string }
	data, err := readAll(resp.Body, "", 64<<10)
	if err != nil || json.Unmarshal(data, &answer) != nil {
		answer.Message = resp.Status
	}
	if resp.StatusCode == http.StatusNotFound {
		return errs.New(errs.ErrNotFound, "%s has no image %q", program, ref).Hint(program + " pull " + ref)
	}
	return errors.New(program + ": " + untrusted.Line(answer.Message, 200))
}
