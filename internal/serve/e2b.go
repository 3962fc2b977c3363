package serve

import (
	"context"
	"io"
	"net/http"

	"noid/internal/e2b"
)

// addE2B serves E2B's clients, below e2b.Path.
func (s *server) addE2B() {
	s.e2b = e2b.New(e2b.Options{Open: s.openCounted, Driver: s.o.Driver, Token: s.o.Token, Log: s.log, Running: s.metrics.running, OfRegistry: ofRegistry,
		Stream: func(ctx context.Context) (context.Context, func(), error) {
			end, err := s.streams.begin(ctx)
			if err != nil {
				return nil, nil, err
			}
			ctx, stop := s.untilClosing(ctx)
			return ctx, func() { stop(); end() }, nil
		},
		Body: func(w http.ResponseWriter, r *http.Request) io.Reader {
			return &patient{r: r.Body, w: w, slow: s.o.slow}
		},
		Status: func(err error) (int, string) {
			p := problemOf(err)
			if p.Hint != "" {
				p.Detail += ": " + p.Hint
			}
			return p.Status, p.Detail
		}})
	s.mux.Handle(e2b.Path+"/", s.e2b)
}
