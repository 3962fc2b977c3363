package serve

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// The parts of an OpenAPI document (https://spec.openapis.org/oas/v3.1.1.html) that noid's has.
type (
	document struct {
		OpenAPI    string                          `json:"openapi"`
		Info       info                            `json:"info"`
		Servers    []map[string]string             `json:"servers"`
		Security   []map[string][]string           `json:"security"`
		Tags       []map[string]string             `json:"tags"`
		Paths      map[string]map[string]operation `json:"paths"`
		Components components                      `json:"components"`
	}
	info struct {
		Title       string            `json:"title"`
		Description string            `json:"description"`
		Version     string            `json:"version"`
		License     map[string]string `json:"license"`
	}
	operation struct {
		ID          string                `json:"operationId"`
		Tags        []string              `json:"tags"`
		Summary     string                `json:"summary"`
		Description string                `json:"description,omitempty"`
		Parameters  []parameter           `json:"parameters,omitempty"`
		Body        *requestBody          `json:"requestBody,omitempty"`
		Responses   map[string]response   `json:"responses"`
		Security    []map[string][]string `json:"security,omitempty"`
	}
	parameter struct {
		Ref         string             `json:"$ref,omitempty"`
		Name        string             `json:"name,omitempty"`
		In          string             `json:"in,omitempty"`
		Description string             `json:"description,omitempty"`
		Required    bool               `json:"required,omitempty"`
		Schema      *jsonschema.Schema `json:"schema,omitempty"`
	}
	requestBody struct {
		Required bool                 `json:"required,omitempty"`
		Content  map[string]mediaType `json:"content"`
	}
	mediaType struct {
		Schema  *jsonschema.Schema `json:"schema,omitempty"`
		Example json.RawMessage    `json:"example,omitempty"`
	}
	response struct {
		Ref         string               `json:"$ref,omitempty"`
		Description string               `json:"description,omitempty"`
		Headers     map[string]header    `json:"headers,omitempty"`
		Content     map[string]mediaType `json:"content,omitempty"`
	}
	header struct {
		Description string             `json:"description"`
		Schema      *jsonschema.Schema `json:"schema"`
	}
	components struct {
		Schemas    map[string]*jsonschema.Schema `json:"schemas"`
		Parameters map[string]parameter          `json:"parameters"`
		Responses  map[string]response           `json:"responses"`
		Security   map[string]map[string]string  `json:"securitySchemes"`
	}
)

const about = `noid's verbs over HTTP. Listens on a unix socket of the user's, or on loopback with a token.

An error is a document of the type application/problem+json with noid's kind of error and a hint.

Operations that take long can be had as server-sent events: Accept: text/event-stream. At the end comes an event "result"
or "error", whose data is the document that the plain answer would be. A client that goes ends what it has begun.

A change may bear an Idempotency-Key. The same key with the same request gets the answer of the first, for an hour; one
that comes while the first is under way waits for it; the same key with another request is refused.

Noid-Warning, a header that may come several times, is what went wrong without failing the request.`

// OpenAPI is the OpenAPI document of the server, of noid's version.
func OpenAPI(version string) ([]byte, error) {
	return newServer(Options{Version: version}).document()
}

func (s *server) openAPI(w http.ResponseWriter, _ *http.Request) {
	doc, err := s.document()
	if err != nil {
		refuse(w, err)
		return
	}
	write(w, http.StatusOK, jsonType, doc)
}

func (s *server) document() ([]byte, error) {
	types := &schemas{named: map[string]reflect.Type{}}
	d := document{OpenAPI: "3.1.1", Info: info{"noid", about, s.o.Version, map[string]string{"name": "Apache 2.0", "identifier": "Apache-2.0"}},
		Servers: []map[string]string{{"url": "http://localhost"}}, Security: []map[string][]string{{}, {"token": {}}}, Paths: map[string]map[string]operation{}}
	seen := map[string]bool{}
	for _, o := range s.ops {
		if !seen[o.tag] {
			seen[o.tag] = true
			d.Tags = append(d.Tags, map[string]string{"name": o.tag})
		}
		path := "/v1" + o.path
		if d.Paths[path] == nil {
			d.Paths[path] = map[string]operation{}
		}
		d.Paths[path][strings.ToLower(o.method)] = o.document(types)
	}
	d.Components = components{
		Parameters: map[string]parameter{"IdempotencyKey": {Name: "Idempotency-Key", In: "header", Description: "the same key and request get the same answer, for an hour",
			Schema: &jsonschema.Schema{Type: "string", Pattern: "^[!-~]{1,255}$"}}},
		Responses: map[string]response{},
		Security:  map[string]map[string]string{"token": {"type": "http", "scheme": "bearer", "description": "where noid listens on loopback; its unix socket needs none"}},
	}
	problem := types.of(reflect.TypeFor[Problem]())
	for _, k := range kinds {
		d.Components.Responses[fmt.Sprint(k.status)] = response{Description: http.StatusText(k.status), Content: map[string]mediaType{problemType: {Schema: problem}}}
	}
	unauthorized := d.Components.Responses["401"]
	unauthorized.Headers = map[string]header{"WWW-Authenticate": {"the scheme", &jsonschema.Schema{Type: "string"}}}
	d.Components.Responses["401"] = unauthorized
	types.of(reflect.TypeFor[progress]())
	types.of(reflect.TypeFor[warning]())
	types.of(reflect.TypeFor[Piece]())
	types.of(reflect.TypeFor[VariantBegun]())
	types.of(reflect.TypeFor[SocketStart]())
	types.of(reflect.TypeFor[SocketControl]())
	types.of(reflect.TypeFor[SocketEnd]())
	d.Components.Schemas = types.components()
	return json.MarshalIndent(d, "", " ")
}

// document describes o.
func (o *op) document(types *schemas) operation {
	d := operation{ID: o.id, Tags: []string{o.tag}, Summary: o.summary, Description: o.about, Responses: map[string]response{}}
	for _, p := range o.params {
		d.Parameters = append(d.Parameters, parameter{Name: p.name, In: p.where, Description: p.schema.Description, Required: p.required, Schema: p.schema})
	}
	if !o.reads && o.takes == "" {
		d.Parameters = append(d.Parameters, parameter{Ref: "#/components/parameters/IdempotencyKey"})
	}
	switch {
	case o.takes != "":
		d.Body = &requestBody{Required: true, Content: map[string]mediaType{o.takes: {}}}
	case o.body != nil:
		d.Body = &requestBody{Required: !o.mayBe, Content: map[string]mediaType{jsonType: {Schema: types.of(o.in), Example: json.RawMessage(o.example)}}}
	}
	status := o.status
	if status == 0 {
		status = http.StatusOK
	}
	good := response{Description: "done", Content: map[string]mediaType{}}
	if o.gives == bytesType {
		d.Responses["206"] = response{Description: "a part of it", Content: map[string]mediaType{bytesType: {}}}
	}
	if o.gives == socketType {
		status, good = http.StatusSwitchingProtocols, response{Description: "the WebSocket"}
	} else if o.gives != "" {
		good.Content[o.gives] = mediaType{}
	} else if o.out != nil {
		good.Content[jsonType] = mediaType{Schema: types.of(o.out)}
	}
	d.Responses[fmt.Sprint(status)] = good
	if o.long {
		events := response{Description: "events: " + strings.TrimPrefix(o.events+", ", ", ") + "and at the end result or error", Content: map[string]mediaType{eventsType: {Schema: &jsonschema.Schema{Type: "string"}}}}
		if status == http.StatusOK {
			good.Content[eventsType] = events.Content[eventsType]
			good.Description = "done; or " + events.Description
			d.Responses["200"] = good
		} else {
			d.Responses["200"] = events
		}
	}
	for _, k := range kinds {
		body := k.status == http.StatusRequestEntityTooLarge || k.status == http.StatusUnsupportedMediaType
		if k.status == http.StatusMethodNotAllowed || body && o.body == nil || k.status == http.StatusTooManyRequests && !o.long && o.gives == "" || k.status == http.StatusUpgradeRequired && o.gives != socketType ||
			k.status == http.StatusRequestedRangeNotSatisfiable && o.gives != bytesType {
			continue
		}
		d.Responses[fmt.Sprint(k.status)] = response{Ref: "#/components/responses/" + fmt.Sprint(k.status)}
	}
	return d
}
