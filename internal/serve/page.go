package serve

import "noid/internal/page"

// addPage serves the page at "/", and its files.
func (s *server) addPage() {
	s.mux.HandleFunc("GET /{$}", page.ServeHTTP)
	s.mux.HandleFunc("GET "+page.Dir, page.ServeHTTP)
}
