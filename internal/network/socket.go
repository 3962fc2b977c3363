package network

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
)

// Socket is a unix socket of this host and one of the guest, of which one leads to the other.
type Socket struct {
	Host  string `json:"host"`  // absolute, as is Guest
	Guest string `json:"guest"` //
	// Out says that the guest's leads to the host's: who connects to it, in the guest, reaches what listens here. Else
	// the host's leads to the guest's.
	Out bool `json:"out,omitempty"`
}

const (
	// AgentSocket is where a guest finds its host's ssh-agent.
	AgentSocket = "/run/noid/ssh-agent.sock"
	// maxPath is how long the path of a unix socket may be, in bytes (unix(7)).
	maxPath = 107
	// MaxSockets bounds those of one VM.
	MaxSockets = 32

	socketHint = "write HOSTPATH:GUESTPATH, two paths of unix sockets: /tmp/docker.sock:/run/docker.sock"
)

// ParseSocket reads HOSTPATH:GUESTPATH. What is none is errs.ErrUsage.
func ParseSocket(text string, out bool) (s Socket, err error) {
	host, guest, found := strings.Cut(text, ":")
	if !found || host == "" {
		return s, errs.New(errs.ErrUsage, "%.200q is no pair of sockets", text).Hint(socketHint)
	}
	if host, err = filepath.Abs(host); err != nil {
		return s, err
	}
	s = Socket{Host: host, Guest: filepath.Clean(guest), Out: out}
	if err := CheckGuestPath(guest); err != nil {
		return s, err
	}
	if len(s.Host) > maxPath {
		return s, errs.New(errs.ErrUsage, "%.200q is too long for a socket: %d bytes are allowed", s.Host, maxPath).Hint("choose a shorter path")
	}
	return s, nil
}

// CheckGuestPath refuses, with an errs.ErrUsage, a path that no socket of a guest can have.
func CheckGuestPath(path string) error {
	bad := strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f })
	if !filepath.IsAbs(path) || bad || len(path) > maxPath {
		return errs.New(errs.ErrUsage, "%.200q is no path of a socket in the guest", path).Hint("write it absolute, in at most 107 bytes")
	}
	return nil
}

// String returns the socket as ParseSocket reads it.
func (s Socket) String() string { return strings.TrimSuffix(s.Host+":"+s.Guest, ":") }

// Listener is the end that noid makes: no two sockets of a VM may have one.
func (s Socket) Listener() string {
	if s.Out {
		return "guest:" + s.Guest
	}
	return s.Host
}

// CheckFree refuses sockets at whose paths here something is, other than a socket that nobody listens at, with an
// errs.ErrExists; two of one path; and too many.
func CheckFree(sockets []Socket) error {
	seen := map[string]bool{}
	for _, s := range sockets {
		if at := s.Listener(); seen[at] {
			return errs.New(errs.ErrUsage, "two sockets at %s", strings.TrimPrefix(at, "guest:")).Hint("leave out one of them")
		} else if seen[at] = true; len(seen) > MaxSockets {
			return errs.New(errs.ErrUsage, "a vm has at most %d sockets", MaxSockets)
		}
		if s.Out {
			continue
		}
		if info, err := os.Stat(filepath.Dir(s.Host)); err != nil || !info.IsDir() {
			return errs.New(errs.ErrNotFound, "no directory %s for the socket", filepath.Dir(s.Host)).Hint("make it first")
		}
		if err := unix.Access(filepath.Dir(s.Host), unix.W_OK|unix.X_OK); err != nil {
			return errs.New(errs.ErrHost, "no socket can be made in %s: %w", filepath.Dir(s.Host), err).Hint("choose a directory that this user may write to")
		}
		if _, err := os.Lstat(s.Host); err == nil && !Stale(s.Host) {
			return errs.New(errs.ErrExists, "%s is there already", s.Host).Hint("choose another path, or remove it")
		}
	}
	return nil
}

// Stale reports whether path is a socket that nobody listens at.
func Stale(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != os.ModeSocket {
		return false
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
	}
	return errors.Is(err, unix.ECONNREFUSED)
}
