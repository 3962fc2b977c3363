package serve

import "context"

// Version is the server's.
type Version struct {
	Version string `json:"version" jsonschema:"noid's"`
	API     string `json:"api" enum:"v1"`
}

func (s *server) addServer() {
	add(s, op{method: "GET", path: "/version", id: "version", tag: "Server", summary: "Say which noid serves", reads: true}, func(context.Context, *call, struct{}) (Version, error) {
		return Version{s.o.Version, "v1"}, nil
	})
	s.mux.HandleFunc("GET /openapi.json", s.openAPI)
}
