package serve

import (
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
)

// TestOpenAPI finds in the document what its readers need: every reference leads somewhere, every schema is one, every
// operation has a name of its own, what is in its path, and an example that its schema allows.
func TestOpenAPI(t *testing.T) {
	text, err := OpenAPI("test")
	check(t, err)
	var d document
	check(t, json.Unmarshal(text, &d))
	var all any
	check(t, json.Unmarshal(text, &all))
	for _, ref := range regexp.MustCompile(`"\$ref": "#/([^"]*)"`).FindAllStringSubmatch(string(text), -1) {
		at := all
		for name := range strings.SplitSeq(ref[1], "/") {
			m, _ := at.(map[string]any)
			at = m[name]
		}
		if at == nil {
			t.Errorf("nothing is at %s", ref[1])
		}
	}
	for name, s := range d.Components.Schemas {
		if s.Type != "object" || len(s.Properties) == 0 {
			t.Errorf("%s is of the type %q", name, s.Type)
		}
	}
	data, err := json.Marshal(jsonschema.Schema{Defs: d.Components.Schemas})
	check(t, err)
	var whole jsonschema.Schema
	check(t, json.Unmarshal([]byte(strings.ReplaceAll(string(data), "#/components/schemas/", "#/$defs/")), &whole))
	if _, err := whole.Resolve(nil); err != nil {
		t.Error(err)
	}
	ids := map[string]bool{}
	for path, ops := range d.Paths {
		for method, o := range ops {
			if ids[o.ID] || o.Summary == "" || len(o.Tags) != 1 {
				t.Errorf("%s %s: %+v", method, path, o)
			}
			ids[o.ID] = true
			for _, name := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(path, -1) {
				found := false
				for _, p := range o.Parameters {
					found = found || p.Name == name[1] && p.In == "path" && p.Required
				}
				if !found {
					t.Errorf("%s %s: %s is no parameter", method, path, name[1])
				}
			}
		}
	}
	for _, o := range newServer(Options{}).ops {
		if !ids[o.id] {
			t.Errorf("%s is not in the document", o.id)
		}
		if o.body == nil {
			continue
		}
		var example any
		if err := json.Unmarshal([]byte(o.example), &example); err != nil {
			t.Errorf("%s: its example is %q: %v", o.id, o.example, err)
		} else if err := must((&schemas{}).structure(o.in).Resolve(nil)).Validate(example); err != nil {
			t.Errorf("%s: its example: %v", o.id, err)
		}
	}
	if of := (&schemas{}).structure(reflect.TypeFor[CreateRequest]()); *of.Properties["cpus"].Maximum != 64 || of.Properties["name"].Pattern == "" || len(of.Required) != 1 {
		t.Errorf("bounds: %+v", of)
	}
}
