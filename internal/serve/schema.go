package serve

import (
	"cmp"
	"encoding"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
)

// schemas makes JSON Schemas of Go types. Fields have tags beside json and jsonschema, which is a description:
//
//	enum:"a,b"  min:"0"  max:"9"  (of a number, or of the length of a string, an array or a map)  pattern:"^a"
type schemas struct {
	// named are the types that the document has by their names. Nil has every type in its place.
	named map[string]reflect.Type
	done  map[reflect.Type]*jsonschema.Schema
}

// of is the schema of t where something has that type.
func (s *schemas) of(t reflect.Type) *jsonschema.Schema {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[time.Time]():
		return &jsonschema.Schema{Type: "string", Format: "date-time"}
	case t.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return &jsonschema.Schema{Type: "string"}
	case t == reflect.TypeFor[[]byte]():
		return &jsonschema.Schema{Type: "string", ContentEncoding: "base64", Pattern: "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"}
	case t.Kind() == reflect.Slice || t.Kind() == reflect.Array:
		return &jsonschema.Schema{Type: "array", Items: s.of(t.Elem())}
	case t.Kind() == reflect.Map:
		return &jsonschema.Schema{Type: "object", AdditionalProperties: s.of(t.Elem())}
	case t.Kind() != reflect.Struct:
		return must(jsonschema.ForType(t, nil))
	case s.named == nil || t.Name() == "":
		return s.structure(t)
	}
	name := strings.ToUpper(t.Name()[:1]) + t.Name()[1:]
	if other := s.named[name]; other != nil && other != t {
		panic(fmt.Sprintf("%v and %v have one name", t, other))
	}
	s.named[name] = t
	return &jsonschema.Schema{Ref: "#/components/schemas/" + name}
}

// structure is the schema of t itself.
func (s *schemas) structure(t reflect.Type) *jsonschema.Schema {
	if made := s.done[t]; made != nil {
		return made
	}
	made := &jsonschema.Schema{Type: "object", Properties: map[string]*jsonschema.Schema{}, AdditionalProperties: &jsonschema.Schema{Not: &jsonschema.Schema{}}}
	for _, f := range reflect.VisibleFields(t) {
		name, options := jsonName(f)
		if name == "" {
			continue
		}
		p := s.of(f.Type).CloneSchemas()
		p.Description = f.Tag.Get("jsonschema")
		constrain(p, f.Tag)
		made.Properties[name] = p
		made.PropertyOrder = append(made.PropertyOrder, name)
		if !strings.Contains(options, "omit") {
			made.Required = append(made.Required, name)
		}
	}
	if s.done == nil {
		s.done = map[reflect.Type]*jsonschema.Schema{}
	}
	s.done[t] = made
	return made
}

// jsonName is what a field is called in JSON, "" if it is not there, and the options of its tag.
func jsonName(f reflect.StructField) (name, options string) {
	tag, tagged := f.Tag.Lookup("json")
	name, options, _ = strings.Cut(tag, ",")
	if !f.IsExported() || !tagged || name == "-" {
		return "", ""
	}
	return cmp.Or(name, f.Name), options
}

// constrain puts the bounds that a field's tag has into its schema.
func constrain(s *jsonschema.Schema, tag reflect.StructTag) {
	if list := tag.Get("enum"); list != "" {
		s.Enum = nil
		for word := range strings.SplitSeq(list, ",") {
			s.Enum = append(s.Enum, word)
		}
	}
	s.Pattern = cmp.Or(tag.Get("pattern"), s.Pattern)
	for _, bound := range []struct {
		tag                      string
		number                   **float64
		chars, items, properties **int
	}{{"min", &s.Minimum, &s.MinLength, &s.MinItems, &s.MinProperties}, {"max", &s.Maximum, &s.MaxLength, &s.MaxItems, &s.MaxProperties}} {
		text := tag.Get(bound.tag)
		if text == "" {
			continue
		}
		n := must(strconv.ParseFloat(text, 64))
		i := int(n)
		switch s.Type {
		case "string":
			*bound.chars = &i
		case "array":
			*bound.items = &i
		case "object":
			*bound.properties = &i
		default:
			*bound.number = &n
		}
	}
}

// must is for what depends on noid's own types alone.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// schemaFor is what a document of the type T is checked against.
func schemaFor[T any]() *jsonschema.Resolved {
	return must((&schemas{}).structure(reflect.TypeFor[T]()).Resolve(nil))
}

// components are the schemas of all named types, and of those that these need.
func (s *schemas) components() map[string]*jsonschema.Schema {
	made := map[string]*jsonschema.Schema{}
	for len(made) < len(s.named) {
		for _, name := range slices.Sorted(maps.Keys(s.named)) {
			if made[name] == nil {
				made[name] = s.structure(s.named[name])
			}
		}
	}
	return made
}
