package serve

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestWhy: what the validator refuses is said without its keywords.
func TestWhy(t *testing.T) {
	type body struct {
		Name string   `json:"name" pattern:"^[a-z]{1,4}$"`
		CPUs int      `json:"cpus,omitempty" min:"1" max:"8"`
		Mode string   `json:"mode,omitempty" enum:"on,off"`
		Text string   `json:"text,omitempty" max:"3"`
		List []string `json:"list,omitempty" max:"2"`
	}
	schema := schemaFor[body]()
	for doc, want := range map[string]string{
		`{}`:                                `"name" is missing`,
		`[]`:                                `of type "array", and is to be "object"`,
		`{"name":5}`:                        `name: of type "integer", and is to be "string"`,
		`{"name":"A"}`:                      `name: does not match "^[a-z]{1,4}$"`,
		`{"name":"a","cpus":0}`:             `cpus: 0 is less than 1`,
		`{"name":"a","cpus":-3}`:            `cpus: -3 is less than 1`,
		`{"name":"a","cpus":9}`:             `cpus: 9 is greater than 8`,
		`{"name":"a","mode":"x"}`:           `mode: "x" is none of: on off`,
		`{"name":"a","text":"four"}`:        `text: 4 characters, more than 3`,
		`{"name":"a","list":["","",""]}`:    `list: 3 items: greater than 2`,
		`{"name":"a","nope":1,"cpus":1.5}`:  `cpus: of type "number", and is to be "integer"`,
		`{"name":"a","nope":1}`:             `no field is called "nope"`,
		`{"name":"a","list":["a",{"b":1}]}`: `list/items: of type "object", and is to be "string"`,
	} {
		var v any
		check(t, json.Unmarshal([]byte(doc), &v))
		err := schema.Validate(v)
		if err == nil {
			t.Errorf("%s is accepted", doc)
		} else if got := why(err); got != want {
			t.Errorf("%s: %s, want %s (%s)", doc, got, want, strings.TrimSpace(err.Error()))
		}
	}
}
