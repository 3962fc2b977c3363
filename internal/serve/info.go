package serve

import (
	"context"
	"net/http"

	"noid/internal/api"
	"noid/internal/errs"
)

// Version is the server's.
type Version struct {
	Version  string `json:"version" jsonschema:"noid's"`
	API      string `json:"api" enum:"v1"`
	Instance string `json:"instance" jsonschema:"another one for each server: one that has ended took the answers of its Idempotency-Keys along"`
}

func (s *server) addServer() {
	const tag = "Server"
	add(s, op{method: "GET", path: "/version", id: "version", tag: tag, summary: "Say which noid serves", reads: true}, func(context.Context, *call, struct{}) (Version, error) {
		return Version{s.o.Version, "v1", s.instance}, nil
	})
	add(s, op{method: "GET", path: "/du", id: "du", tag: tag, summary: "Show the disk space of VMs, checkpoints and the home", reads: true}, func(ctx context.Context, c *call, in UsageRequest) (api.Usage, error) {
		var problems []error
		for _, name := range in.VMs {
			problems = append(problems, c.m.CheckKnown(name))
		}
		if err := errs.Join(problems...); err != nil {
			return api.Usage{}, err
		}
		u, err := c.m.Usage(ctx, in.VMs)
		if err != nil && ctx.Err() == nil {
			c.warn(err.Error())
			err = nil
		}
		return api.UsageOf(u), err
	})
	addRaw(s, op{method: "GET", path: "/events", id: "events", verb: "list", tag: tag, summary: "Hear of what changes", reads: true, gives: eventsType,
		about: "The event vms has the list of all VMs (VMList), now and whenever it changes; the event checkpoints the name of a VM whose checkpoints have changed (Done)."}, s.events)
	s.mux.HandleFunc("GET /openapi.json", s.openAPI)
}

// untilClosing is ctx that ends when the server is to end.
func (s *server) untilClosing(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-s.closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// flushing is an answer whose client gets each piece at once.
type flushing struct{ w http.ResponseWriter }

// Write implements io.Writer.
func (f flushing) Write(b []byte) (int, error) {
	n, err := f.w.Write(b)
	if err == nil {
		err = http.NewResponseController(f.w).Flush()
	}
	return n, err
}
