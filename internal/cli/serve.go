package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"noid/internal/serve"
	"noid/internal/telemetry"
	"noid/internal/untrusted"
	"noid/internal/version"
	"noid/internal/vm"
	"noid/internal/vmm/drivers"
)

// serveTokenFile is the default file of the token, in the home.
const serveTokenFile = "serve.token"

func (a *app) serveCmd() *cobra.Command {
	var listen, socket, tokenFile, otlp string
	var printOpenAPI, stdin, metrics bool
	cmd := &cobra.Command{
		Use: "serve", Short: "Serve programs over HTTP",
		Long: `Serve noid's verbs to programs over HTTP, as JSON, until Ctrl+C or SIGTERM. VMs are the user's own, as those of the command
line, and run on when the server ends. --print-openapi prints what it can do.

It listens on a unix socket that this user and root may connect to: serve.sock in noid's home. With --listen it listens on a
port of this machine's loopback instead; every request must bear the token, which is made and kept in a file that only this
user can read. A socket that systemd passes comes before both.

With --metrics, /metrics has metrics for Prometheus. With --otlp, each request is a span for an OpenTelemetry collector: at a
URL, or with --otlp env at that of OTEL_EXPORTER_OTLP_ENDPOINT. OTEL_SERVICE_NAME and OTEL_EXPORTER_OTLP_HEADERS count with
both. Neither is on by itself.

With --listen, programs that use E2B's client run on it too, by environment variables alone (docs/e2b.md).
`,
		Example: "  noid serve &\n  curl --unix-socket ~/.noid/serve.sock http://localhost/v1/vms\n  noid serve --listen 127.0.0.1:7070",
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if printOpenAPI {
				doc, err := serve.OpenAPI(version.Release)
				if err == nil {
					_, err = fmt.Fprintf(a.out, "%s\n", doc)
				}
				return err
			}
			if listen != "" && socket != "" {
				return usageError("--listen and --socket are one too many", "leave one of them out")
			}
			m, err := a.open()
			if m == nil {
				return err
			}
			if err := m.Home.Make(); err != nil {
				return err
			}
			o := serve.Options{Version: version.Release, Log: func(text string) { fmt.Fprintln(a.err, "noid: "+untrusted.Text([]byte(text))) }, Open: a.openForProgram, Metrics: metrics}
			if o.Traces, err = traces(otlp, o.Log); err != nil {
				return err
			}
			if o.Driver, err = driverWish(a.drivers(drivers.Config{}, nil), ""); err != nil {
				return err
			}
			l, err := serve.Activated()
			if err == nil && l == nil {
				if listen != "" {
					l, err = serve.ListenTCP(listen)
				} else {
					l, err = serve.ListenUnix(cmp.Or(socket, filepath.Join(m.Home.Dir(), serve.SocketFile)))
				}
			}
			if err != nil {
				return err
			}
			defer l.Close()
			where := "unix:" + l.Addr().String()
			if _, ok := l.Addr().(*net.TCPAddr); ok {
				if o.Token, err = serve.Token(cmp.Or(tokenFile, filepath.Join(m.Home.Dir(), serveTokenFile))); err != nil {
					return err
				}
				where = "http://" + l.Addr().String() + "/#token=" + o.Token
			}
			fmt.Fprintln(a.out, where)
			ctx, ended := context.WithCancel(cmd.Context())
			defer ended()
			if stdin {
				go func() { io.Copy(io.Discard, os.Stdin); ended() }()
			}
			if err := serve.Serve(ctx, o, l); err != nil {
				a.complain(err)
				return codeError{exitCode(err)}
			}
			return cmd.Context().Err()
		},
	}
	f := cmd.Flags()
	f.StringVar(&listen, "listen", "", "`ADDRESS:PORT` of loopback to listen on, such as 127.0.0.1:7070; port 0 is any that is free")
	f.StringVar(&socket, "socket", "", "`PATH` of the unix socket to listen on (default serve.sock in noid's home)")
	f.StringVar(&tokenFile, "token-file", "", "`FILE` with the token for --listen, made if it is not there (default serve.token in noid's home)")
	f.BoolVar(&metrics, "metrics", false, "have metrics for Prometheus at /metrics")
	f.StringVar(&otlp, "otlp", "", "send traces to the OpenTelemetry collector at `URL` (env: OTEL_EXPORTER_OTLP_ENDPOINT)")
	f.BoolVar(&stdin, "stdin", false, "end when standard input does: with the program that has started it")
	f.BoolVar(&printOpenAPI, "print-openapi", false, "print the OpenAPI document and end")
	return cmd
}

// traces is where spans go: to the collector at where, "env" for what OpenTelemetry's variables say, "" for nowhere.
func traces(where string, log func(string)) (*telemetry.Exporter, error) {
	if where == "" {
		return nil, nil
	}
	if where == "env" {
		if where = os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT"); where == "" {
			return nil, usageError("--otlp env: OTEL_EXPORTER_OTLP_ENDPOINT is not set", "export OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318, or give --otlp a URL")
		}
	}
	headers, err := telemetry.ParseHeaders(os.Getenv("OTEL_EXPORTER_OTLP_HEADERS"))
	if err != nil {
		return nil, usageError("OTEL_EXPORTER_OTLP_HEADERS: "+err.Error(), "write KEY=VALUE,KEY=VALUE, with values in percent-encoding")
	}
	e, err := telemetry.NewExporter(telemetry.ExporterOptions{URL: where, Headers: headers, Service: cmp.Or(os.Getenv("OTEL_SERVICE_NAME"), "noid"), Version: version.Release, Log: log})
	if err != nil {
		return nil, usageError("--otlp: "+err.Error(), "give the address below which it has v1/traces, such as http://localhost:4318")
	}
	return e, nil
}

// openForProgram is openFor for a front end that serves programs: one whose configuration is damaged gets no manager.
func (a *app) openForProgram(ctx context.Context, verb string) (*vm.Manager, error) {
	m, err := a.openFor(ctx, verb)
	if err != nil && m != nil {
		m.Close()
	}
	return m, err
}
