// Package proxy connects by way of this host's HTTP proxy, with CONNECT (RFC 9110, section 9.3.6).
package proxy

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"noid/internal/errs"
)

const (
	// dialWait bounds a connection's making, with what the proxy takes for it.
	dialWait = 30 * time.Second
	// maxAnswer bounds the headers of a proxy's answer, in bytes.
	maxAnswer = 16 << 10
)

// Known reports whether the environment names a proxy, as HTTPS_PROXY, that Dial can go by; HTTP_PROXY, where it is set,
// is looked at too. If it does not, it is errs.ErrHost.
func Known() error {
	if env("HTTPS_PROXY") == "" {
		return errs.New(errs.ErrHost, "this host's proxy is not known: HTTPS_PROXY is not set").
			Hint("set HTTPS_PROXY=http://proxy.example.com:3128, and NO_PROXY, in noid's environment")
	}
	return errs.Join(check("HTTPS_PROXY"), check("HTTP_PROXY"))
}

// check refuses a variable whose value is no URL of a proxy that Dial can go by. net/http takes one that it cannot parse
// for no proxy at all. The error has nothing of the value, which may have a password in it.
func check(name string) error {
	value := env(name)
	if value == "" {
		return nil
	}
	u, err := url.Parse(value)
	if err != nil || u.Scheme == "" || u.Host == "" { // as net/http reads it
		u, err = url.Parse("http://" + value)
	}
	switch {
	case err != nil || u.Hostname() == "":
		return errs.New(errs.ErrHost, "this host's proxy is not known: %s is no URL", name).
			Hint("set " + name + "=http://user:password@proxy.example.com:3128, with a % in the user or password as %25")
	case u.Scheme != "http":
		return errs.New(errs.ErrHost, "this host's proxy cannot be reached: %s does not begin with http://, and noid knows no other way", name).
			Hint("set " + name + "=http://proxy.example.com:3128, a proxy that takes CONNECT")
	}
	return nil
}

func env(name string) string { return cmp.Or(os.Getenv(name), os.Getenv(strings.ToLower(name))) }

// Dial connects to an address, directly if NO_PROXY says so or the address is on loopback. name, unless it is "", is the
// host's that has it: the proxy is asked for that, and NO_PROXY about it. The environment is that of this process' start.
func Dial(ctx context.Context, name string, to netip.AddrPort) (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialWait)
	defer cancel()
	target := to.String()
	if name != "" {
		target = fmt.Sprintf("%s:%d", name, to.Port())
	}
	via, err := of(target, to)
	switch {
	case err != nil:
		return nil, err
	case via == nil:
		return dial(ctx, to.String())
	}
	port := via.Port()
	if port == "" {
		port = "80"
	}
	conn, err := dial(ctx, net.JoinHostPort(via.Hostname(), port))
	if err != nil {
		return nil, fmt.Errorf("this host's proxy: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	err = connect(conn, target, via.User)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("this host's proxy: %w", err)
	}
	return conn, nil
}

func dial(ctx context.Context, address string) (*net.TCPConn, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// of returns the proxy for a target; nil is none.
func of(target string, to netip.AddrPort) (*url.URL, error) {
	if to.Addr().IsLoopback() {
		return nil, nil
	}
	if err := Known(); err != nil { // nil would be NO_PROXY
		return nil, err
	}
	u := &url.URL{Scheme: "https", Host: target}
	if to.Port() == 80 && env("HTTP_PROXY") != "" {
		u.Scheme = "http"
	}
	return http.ProxyFromEnvironment(&http.Request{URL: u})
}

// connect has a proxy connect to a target. It reads no byte of what the target says.
func connect(conn net.Conn, target string, user *url.Userinfo) error {
	r := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: target}, Host: target, Header: http.Header{"User-Agent": {"noid"}}}
	if user != nil {
		password, _ := user.Password()
		r.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	if err := r.Write(conn); err != nil {
		return err
	}
	var answer []byte
	for b := make([]byte, 1); !bytes.HasSuffix(answer, []byte("\r\n\r\n")) && len(answer) < maxAnswer; answer = append(answer, b[0]) {
		if _, err := io.ReadFull(conn, b); err != nil {
			return err
		}
	}
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(answer)), r)
	if err != nil {
		return fmt.Errorf("its answer is no HTTP: %w", err)
	}
	resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("it does not connect to %s: status %d", target, resp.StatusCode)
	}
	return nil
}
