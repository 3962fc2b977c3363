package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"noid/internal/errs"
	"noid/internal/untrusted"
)

var dockerSocket = "/var/run/docker.sock"

// openDocker finds an image that docker has, or this user's rootless docker.
func openDocker(ctx context.Context, ref string, o Options) (*Image, error) {
	sockets, remote := append([]string{dockerSocket}, userSocket("docker.sock")...), os.Getenv("DOCKER_HOST")
	if path, ok := strings.CutPrefix(remote, "unix://"); ok {
		sockets = []string{path}
	} else if remote != "" {
		return nil, errs.New(errs.ErrHost, "DOCKER_HOST is %q: noid asks docker over a socket alone", remote).Hint("docker save " + ref + " -o FILE, and docker-archive:FILE")
	}
	return openDaemon(ctx, "docker", sockets, ref, o)
}

// openPodman finds an image that podman has, by its service, which answers as docker does.
func openPodman(ctx context.Context, ref string, o Options) (*Image, error) {
	return openDaemon(ctx, "podman", append(userSocket("podman/podman.sock"), "/run/podman/podman.sock"), ref, o)
}

// userSocket is the socket of this user, if there can be one.
func userSocket(name string) []string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return []string{filepath.Join(dir, name)}
	}
	return nil
}

// openDaemon has the program of the first socket that is there save the image.
func openDaemon(ctx context.Context, program string, sockets []string, ref string, o Options) (*Image, error) {
	var problem error
	for _, socket := range sockets {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if err == nil {
			conn.Close()
			return saved(ctx, program, socket, ref, o)
		}
		if problem == nil || errors.Is(problem, fs.ErrNotExist) {
			problem = err
		}
	}
	return nil, noAnswer(program, ref, problem)
}

// noAnswer is the error of a program whose socket cannot be reached.
func noAnswer(program, ref string, err error) error {
	cure := "start it"
	if program == "podman" {
		cure = "systemctl --user start podman.socket"
	} else if errors.Is(err, fs.ErrPermission) {
		cure = "add yourself to group docker"
	}
	return errs.New(errs.ErrHost, "%s does not answer: %w", program, err).Hint(cure + "; or: " + program + " save " + ref + " -o FILE, and docker-archive:FILE")
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
