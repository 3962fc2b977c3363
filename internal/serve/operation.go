package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/jsonschema-go/jsonschema"

	"noid/internal/errs"
	"noid/internal/untrusted"
	"noid/internal/vm"
)

// op is an operation.
type op struct {
	method, path string // below /v1
	id, tag      string // its name, and the group that it is in
	summary      string
	about        string // what else there is to know
	verb         string // of the command line, which messages have; the id if empty
	status       int    // of success; 200 if 0
	reads        bool   // it changes nothing, so that no Idempotency-Key is for it
	long         bool   // it can be had as events
	events       string // what its events are beside result and error
	example      string // a body, as JSON
	takes, gives string // media types of a body and an answer that are not JSON

	in, out reflect.Type
	params  []param
	body    *jsonschema.Resolved // nil: it takes no JSON
	mayBe   bool                 // the body may be missing
	handle  http.HandlerFunc
}

// param is a field of an operation's input that the path or the query has.
type param struct {
	where    string // path or query
	name     string
	index    []int
	required bool
	schema   *jsonschema.Schema
	check    *jsonschema.Resolved
}

// call is one request that is being answered.
type call struct {
	m      *vm.Manager
	r      *http.Request
	w      http.ResponseWriter // for operations that write their answer themselves
	events *events             // nil: the client waits for the result alone

	mu       sync.Mutex
	warnings []string // for the header of the answer, whose other writer does not stop for them
}

// add adds an operation. Its input are In's fields, with the tags path, query or json, and its answer is Out as JSON.
func add[In, Out any](s *server, o op, run func(context.Context, *call, In) (Out, error)) {
	o.out = reflect.TypeFor[Out]()
	addOp(s, o, func(o *op) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			var in In
			body, err := o.read(w, r, &in, s.o.slow)
			if err != nil {
				refuse(w, err)
				return
			}
			s.answer(w, r, o, body, func(ctx context.Context, c *call) (any, error) { return run(ctx, c, in) })
		}
	}, reflect.TypeFor[In]())
}

// addRaw adds an operation that reads its body or writes its answer itself. What run returns before it has written
// anything is the answer.
func addRaw[In any](s *server, o op, run func(context.Context, *call, In) error) {
	addOp(s, o, func(o *op) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			var in In
			if err := o.bind(r, &in); err != nil {
				refuse(w, err)
				return
			}
			out := &started{ResponseWriter: w}
			c := &call{r: r, w: out}
			out.begin = func() { c.tellWarnings(w.Header(), warnHeader) }
			err := s.open(r.Context(), o, c, func(ctx context.Context, c *call) error { return run(ctx, c, in) })
			switch {
			case err != nil && !out.begun:
				refuse(out, err)
			case errors.Is(err, vm.ErrPartial): // in place of what it lacks there are warnings
				c.tellWarnings(w.Header(), http.TrailerPrefix+warnHeader)
			case err != nil: // the client sees that it is not whole
				panic(http.ErrAbortHandler)
			}
		}
	}, reflect.TypeFor[In]())
}

// started notes whether an answer has begun.
type started struct {
	http.ResponseWriter
	begun bool
	begin func() // is called before it begins
}

func (s *started) start() {
	if !s.begun {
		s.begun = true
		s.begin()
	}
}

func (s *started) WriteHeader(status int) {
	s.start()
	s.ResponseWriter.WriteHeader(status)
}

func (s *started) Write(b []byte) (int, error) {
	s.start()
	return s.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (s *started) Unwrap() http.ResponseWriter { return s.ResponseWriter }

func addOp(s *server, o op, handler func(*op) http.HandlerFunc, in reflect.Type) {
	o.in = in
	inline := &schemas{}
	for _, f := range reflect.VisibleFields(in) {
		for _, where := range []string{"path", "query"} {
			name, option, _ := strings.Cut(f.Tag.Get(where), ",")
			if name == "" {
				continue
			}
			p := param{where: where, name: name, index: f.Index, required: option != "omitempty", schema: inline.of(f.Type).CloneSchemas()}
			constrain(p.schema, f.Tag)
			p.check = must(p.schema.Resolve(nil))
			p.schema.Description = f.Tag.Get("jsonschema")
			o.params = append(o.params, p)
		}
	}
	if schema := inline.structure(in); len(schema.Properties) > 0 {
		o.body, o.mayBe = must(schema.Resolve(nil)), len(schema.Required) == 0
	}
	o.handle = handler(&o)
	s.ops = append(s.ops, &o)
	s.mux.HandleFunc(o.method+" /v1"+o.path, o.handle)
}

// read reads the parameters and the body of r into in, which may take slow for each piece. It returns the body.
func (o *op) read(w http.ResponseWriter, r *http.Request, in any, slow time.Duration) ([]byte, error) {
	if err := o.bind(r, in); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(&patient{r: http.MaxBytesReader(w, r.Body, maxBody), w: w, slow: slow})
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		w.Header().Set("Connection", "close") // http.MaxBytesReader sees no http.Server behind a writer of ours
		return nil, errs.New(errTooLarge, "the body has more than %d bytes", tooLarge.Limit)
	} else if err != nil {
		return nil, errs.New(errs.ErrUsage, "reading the body: %v", err)
	}
	if o.body == nil {
		if text := bytes.TrimSpace(body); len(text) > 0 && string(text) != "{}" {
			return nil, errs.New(errs.ErrUsage, "%s takes no body", o.id)
		}
		return nil, nil
	}
	if len(body) == 0 && o.mayBe {
		return nil, nil
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != jsonType {
		return nil, errs.New(errMediaType, "the body is not %s", jsonType).Hint("send Content-Type: " + jsonType)
	}
	var doc any
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, errs.New(errs.ErrUsage, "the body is no JSON: %v", err)
	}
	if err := o.body.Validate(doc); err != nil {
		return nil, errs.New(errs.ErrUsage, "the body: %s", why(err))
	}
	plain, err := json.Marshal(doc) // without what is in it twice
	if err == nil {
		err = json.Unmarshal(plain, in)
	}
	if err != nil {
		return nil, errs.New(errs.ErrUsage, "the body: %v", err)
	}
	return body, nil
}

// why is what a schema refuses, without the way there.
func why(err error) string {
	text := err.Error()
	for {
		rest, found := strings.CutPrefix(text, "validating ")
		if !found {
			return untrusted.Line(text, 300)
		}
		at, what, _ := strings.Cut(rest, ": ")
		if !strings.HasPrefix(what, "validating ") {
			field := strings.ReplaceAll(strings.TrimPrefix(strings.TrimPrefix(at, "root"), "/properties/"), "/properties/", ".")
			return untrusted.Line(strings.TrimPrefix(field+": "+plainly(what), ": "), 300)
		}
		text = what
	}
}

// plainly is what the validator says, without its keywords: "minimum: -1 is less than 0.000000".
func plainly(what string) string {
	for _, r := range [][2]string{
		{`(?s)^type: .* has type "(\w+)", want (?:one of )?(.+)$`, `of type "$1", and is to be $2`},
		{`(?s)^enum: (.*) does not equal any of: \[(.*)\]$`, `"$1" is none of: $2`},
		{`(?s)^(?:min|max)imum: (-?\d+)(?:/1)? is (less|greater) than (-?\d+)(?:\.0+)?$`, `$1 is $2 than $3`},
		{`(?s)^pattern: .* does not match regular expression (".*")$`, `does not match $1`},
		{`(?s)^maxLength: .* contains (\d+) Unicode code points, more than (\d+)$`, `$1 characters, more than $2`},
		{`(?s)^minLength: .* contains (\d+) Unicode code points, fewer than (\d+)$`, `$1 characters, fewer than $2`},
		{`(?s)^(?:min|max)Items: array length (\d+) is (less|greater) than (\d+)$`, `$1 items: $2 than $3`},
		{`(?s)^required: missing properties: \[(.*)\]$`, `$1 is missing`},
		{`(?s)^unexpected additional properties \[(.*)\]$`, `no field is called $1`},
	} {
		if re := regexp.MustCompile(r[0]); re.MatchString(what) {
			return re.ReplaceAllString(what, r[1])
		}
	}
	return what
}

// bind reads the parameters of r into in.
func (o *op) bind(r *http.Request, in any) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return errs.New(errs.ErrUsage, "the query: %v", err)
	}
	for name := range query {
		if !slices.ContainsFunc(o.params, func(p param) bool { return p.where == "query" && p.name == name }) {
			return errs.New(errs.ErrUsage, "%s has no parameter %.60q", o.id, name).Hint("/openapi.json lists them")
		}
	}
	to := reflect.ValueOf(in).Elem()
	for _, p := range o.params {
		values := query[p.name]
		if p.where == "path" {
			values = []string{r.PathValue(p.name)}
		}
		if len(values) == 0 {
			if p.required {
				return errs.New(errs.ErrUsage, "the parameter %s is missing", p.name)
			}
			continue
		}
		if err := p.set(to.FieldByIndex(p.index), values); err != nil {
			return err
		}
	}
	return nil
}

// set reads values into the field v.
func (p param) set(v reflect.Value, values []string) error {
	refuse := func(what string) error {
		return errs.New(errs.ErrUsage, "%s: %.100q %s", p.name, strings.Join(values, ","), what)
	}
	if v.Kind() == reflect.Slice {
		v.Set(reflect.ValueOf(values))
	} else if len(values) > 1 {
		return refuse("is more than one")
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(values[0])
	case reflect.Bool:
		if values[0] != "true" && values[0] != "false" {
			return refuse("is neither true nor false")
		}
		v.SetBool(values[0] == "true")
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(values[0], 10, 64)
		if err != nil {
			return refuse("is no number")
		}
		v.SetInt(n)
	}
	if err := p.check.Validate(jsonValue(v.Interface())); err != nil {
		return refuse("is refused: " + why(err))
	}
	return nil
}

// jsonValue is v as a JSON decoder gives it.
func jsonValue(v any) (out any) {
	json.Unmarshal(must(json.Marshal(v)), &out)
	return out
}

// open opens the home for c, and runs run.
func (s *server) open(ctx context.Context, o *op, c *call, run func(context.Context, *call) error) error {
	verb := o.verb
	if verb == "" {
		verb = o.id
	}
	m, err := s.openCounted(ctx, verb)
	if err != nil {
		return err
	}
	defer m.Close()
	c.m = m
	m.Warn = c.warn
	m.Notice = c.warn
	if err = run(ctx, c); err != nil && errors.Is(err, context.Canceled) && context.Cause(ctx) == errClosing {
		err = errs.Mark(err, errClosing)
	}
	return err
}

// warnHeader has, in an answer, what went wrong without failing it, a line each.
const (
	warnHeader  = "Noid-Warning"
	maxWarnings = 16
)

// warn tells the client of something. It may be called from several goroutines.
func (c *call) warn(text string) {
	text = untrusted.Line(text, 300)
	if c.events != nil {
		c.events.send("warning", warning{text})
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.warnings) < maxWarnings {
		c.warnings = append(c.warnings, text)
	}
}

// tellWarnings puts into h, under name, what was warned of since.
func (c *call) tellWarnings(h http.Header, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, text := range c.warnings {
		h.Add(name, text)
	}
	c.warnings = nil
}

type warning struct {
	Text string `json:"text"`
}

// answer runs an operation and sends its answer: a document, or events with that at their end.
func (s *server) answer(w http.ResponseWriter, r *http.Request, o *op, body []byte, run func(context.Context, *call) (any, error)) {
	ctx, c := r.Context(), &call{r: r, w: w}
	work := func() answer {
		var out any
		err := s.open(ctx, o, c, func(ctx context.Context, c *call) (err error) {
			out, err = run(ctx, c)
			return err
		})
		if err != nil {
			p := problemOf(err)
			return answer{p.Status, encode(p), p.Kind}
		}
		status := o.status
		if status == 0 {
			status = http.StatusOK
		}
		return answer{status, encode(out), ""}
	}
	if o.long && wantsEvents(r) {
		end, err := s.streams.begin(ctx)
		if err != nil {
			refuse(w, err)
			return
		}
		defer end()
		c.events = newEvents(w)
		defer c.events.stop()
	}
	var a answer
	if key := r.Header.Values("Idempotency-Key"); len(key) > 0 && !o.reads {
		err := s.sameInstance(r)
		if err == nil {
			a, err = s.answers.once(r, key, body, work)
		}
		if err != nil {
			p := problemOf(err)
			a = answer{p.Status, encode(p), p.Kind}
		}
	} else {
		a = work()
	}
	c.tellWarnings(w.Header(), warnHeader)
	switch {
	case c.events != nil && a.kind != "":
		c.events.sendRaw("error", bytes.TrimSpace(a.doc))
	case c.events != nil:
		c.events.sendRaw("result", bytes.TrimSpace(a.doc))
	case a.kind != "":
		write(w, a.status, problemType, a.doc)
	default:
		write(w, a.status, jsonType, a.doc)
	}
}

// wantsEvents reports whether the client of r asks for events.
func wantsEvents(r *http.Request) bool {
	for _, line := range r.Header.Values("Accept") {
		for kind := range strings.SplitSeq(line, ",") {
			if kind, _, err := mime.ParseMediaType(kind); err == nil && kind == eventsType {
				return true
			}
		}
	}
	return false
}

// patient is a body that may take its time, but not for one piece.
type patient struct {
	r    io.Reader
	w    http.ResponseWriter
	slow time.Duration
}

// Read implements io.Reader.
func (p *patient) Read(b []byte) (int, error) {
	control := http.NewResponseController(p.w)
	control.SetReadDeadline(time.Now().Add(p.slow))
	n, err := p.r.Read(b)
	if err == io.EOF { // net/http watches the connection from now on; after another error it may read the rest, within the time
		control.SetReadDeadline(time.Time{})
	}
	return n, err
}
