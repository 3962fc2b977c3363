package e2b

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"noid/internal/api"
	"noid/internal/errs"
	"noid/internal/vm"
)

// envdVersion is of the envd whose interface is served. A later one has what noid has not: metadata of files, and entries
// in the events of a watched directory.
const envdVersion = "0.5.7"

// domain is of the hosts that the client makes up for a sandbox's ports. There are none: a name that no resolver has
// (RFC 6761) keeps what is meant for a sandbox from another's.
const domain = "noid.invalid"

// Bounds and defaults of times, in seconds. The defaults are E2B's own.
const (
	maxTimeout     = 365 * 24 * 3600
	defaultTimeout = 300
	forkTimeout    = 15
)

const (
	maxDocument = 1 << 20 // bytes of a JSON body of the API
	maxPage     = 100     // sandboxes in a page of a list
)

// never is the end of a sandbox that has none, where E2B wants one.
var never = time.Date(9998, 1, 1, 0, 0, 0, 0, time.UTC)

// newSandbox is a sandbox to be made. Its other fields are refused by their names.
type newSandbox struct {
	Template   string                  `json:"templateID"`
	Timeout    *int                    `json:"timeout"` // seconds
	AutoPause  bool                    `json:"autoPause"`
	PauseAll   *bool                   `json:"autoPauseMemory"` // false: pause without memory
	AutoResume *struct{ Enabled bool } `json:"autoResume"`
	Internet   *bool                   `json:"allow_internet_access"`
	Metadata   map[string]string       `json:"metadata"`
	Env        map[string]string       `json:"envVars"`
	Secure     bool                    `json:"secure"` // envd always wants a token where the API does
	MCP        json.RawMessage         `json:"mcp"`
	Network    json.RawMessage         `json:"network"`
	IAM        json.RawMessage         `json:"iam"`
	Mounts     json.RawMessage         `json:"volumeMounts"`
}

// sandbox is one as its client connects to it.
type sandbox struct {
	Template    string `json:"templateID"`
	ID          string `json:"sandboxID"`
	Client      string `json:"clientID"`
	EnvdVersion string `json:"envdVersion"`
	EnvdToken   string `json:"envdAccessToken,omitempty"`
	Domain      string `json:"domain"`
}

// details is a sandbox in a list, or alone.
type details struct {
	sandbox
	Started   time.Time         `json:"startedAt"`
	End       time.Time         `json:"endAt"`
	State     string            `json:"state"`
	CPUs      int               `json:"cpuCount"`
	MemMiB    int               `json:"memoryMB"`
	DiskMiB   int               `json:"diskSizeMB"`
	Metadata  map[string]string `json:"metadata,omitempty"`
	PauseMode string            `json:"pauseMode,omitempty"`
	Lifecycle *lifecycle        `json:"lifecycle,omitempty"`
}

type lifecycle struct {
	AutoResume bool   `json:"autoResume"`
	OnTimeout  string `json:"onTimeout"`
}

// timed is the body of a request that gives a sandbox time.
type timed struct {
	Timeout *int  `json:"timeout"` // seconds
	Memory  *bool `json:"memory"`
	Count   *int  `json:"count"`
	Strict  bool  `json:"requireHealthyGuest"`
}

func (h *Handler) addSandboxes() {
	add := func(pattern string, run func(context.Context, *vm.Manager, http.ResponseWriter, *http.Request) error) {
		method, path, _ := strings.Cut(pattern, " ")
		h.mux.HandleFunc(method+" "+Path+path, func(w http.ResponseWriter, r *http.Request) {
			m, err := h.open(r.Context(), "serve")
			if err == nil {
				defer m.Close()
				err = run(r.Context(), m, w, r)
			}
			if err != nil {
				h.Refuse(w, err)
			}
		})
	}
	add("POST /v2/sandboxes", h.create)
	add("GET /v2/sandboxes", h.list)
	add("GET /sandboxes/{id}", h.inspect)
	add("DELETE /sandboxes/{id}", h.kill)
	add("POST /sandboxes/{id}/timeout", h.setTimeout)
	add("POST /sandboxes/{id}/pause", h.pause)
	add("POST /v2/sandboxes/{id}/connect", h.connect)
	add("POST /sandboxes/{id}/fork", h.fork)
	add("POST /sandboxes/{id}/snapshots", h.snapshot)
}

// read reads the JSON body of r into in, all of whose fields are known. It may be missing.
func read(w http.ResponseWriter, r *http.Request, in any) error {
	body, err := readAll(w, r, maxDocument)
	if err != nil {
		return errs.New(errs.ErrUsage, "reading the body: %v", err)
	}
	if len(body) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(in); err != nil {
		return errs.New(errs.ErrUsage, "the body: %v", err).Hint("docs/e2b.md says what noid takes")
	}
	return nil
}

// until is when a time of t seconds ends that begins now.
func until(t *int, otherwise int) (time.Time, error) {
	seconds := otherwise
	if t != nil {
		seconds = *t
	}
	if seconds < 0 || seconds > maxTimeout {
		return time.Time{}, errs.New(errs.ErrUsage, "timeout: %d is not from 0 to %d seconds", seconds, maxTimeout)
	}
	return time.Now().UTC().Add(time.Duration(seconds) * time.Second), nil
}

// refuseOptions refuses what noid does not do.
func (n newSandbox) refuseOptions() error {
	for _, o := range []struct {
		name  string
		given json.RawMessage
	}{{"mcp", n.MCP}, {"network", n.Network}, {"iam", n.IAM}, {"volume_mounts", n.Mounts}} {
		if text := string(o.given); text != "" && text != "null" && text != "{}" && text != "[]" {
			return unserved("%s", o.name)
		}
	}
	if n.AutoResume != nil && n.AutoResume.Enabled {
		return unserved("auto_resume")
	}
	return nil
}

func (n newSandbox) note() (note, error) {
	out := note{Template: cmp.Or(n.Template, baseTemplate), Metadata: n.Metadata, Env: n.Env, OnEnd: onEndKill, Made: rand.Text()}
	switch {
	case n.AutoPause && n.PauseAll != nil && !*n.PauseAll:
		out.OnEnd = onEndStop
	case n.AutoPause:
		out.OnEnd = onEndPause
	}
	if _, _, err := (api.CommandSpec{Argv: []string{"true"}, Env: n.Env}).Parse(); err != nil {
		return out, err
	}
	_, err := until(n.Timeout, defaultTimeout)
	return out, err
}

// baseTemplate is E2B's own, and the user's default image or root file system.
const baseTemplate = "base"

func (h *Handler) create(ctx context.Context, m *vm.Manager, w http.ResponseWriter, r *http.Request) error {
	var in newSandbox
	if err := read(w, r, &in); err != nil {
		return err
	}
	if err := in.refuseOptions(); err != nil {
		return err
	}
	n, err := in.note()
	if err != nil {
		return err
	}
	name, key := newName(), r.Header.Get("Idempotency-Key")
	if key != "" { // the same sandbox, however often it is asked for
		sum := sha256.Sum256([]byte(key))
		name = namePrefix + hex.EncodeToString(sum[:10])
	}
	if err = m.CheckExists(name); err == nil {
		err = errs.New(errs.ErrExists, "vm %q already exists", name)
	} else {
		err = h.make(ctx, m, name, n, in)
	}
	switch exists := errors.Is(err, errs.ErrExists); {
	case exists && key != "" && m.CheckExists(name) == nil:
		answer(w, http.StatusCreated, h.sandboxOf(name, n.Template))
		return nil
	case err != nil && !exists: // nobody would know its name
		destroyMade(context.WithoutCancel(ctx), m, name, n.Made)
		return err
	case err != nil:
		return err
	}
	// The time begins when the sandbox can be used.
	err = h.changeNote(ctx, m, name, func(n *note) (err error) {
		n.End, err = until(in.Timeout, defaultTimeout)
		return err
	})
	if err == nil {
		answer(w, http.StatusCreated, h.sandboxOf(name, n.Template))
	}
	return err
}

// destroyMade destroys the VM name if it is the one that the request made has made: another with the same Idempotency-Key
// may have made it. What checkpoints there are of that name are an earlier sandbox's, and stay.
func destroyMade(ctx context.Context, m *vm.Manager, name, made string) {
	if i, err := m.Info(ctx, name); err == nil {
		if n := noteOf(i.Note); n != nil && n.Made == made {
			m.Destroy(ctx, name, false)
		}
	}
}

// namePrefix is before what tells the sandboxes of one home apart.
const namePrefix = "sb-"

func newName() string { return namePrefix + strings.ToLower(rand.Text()[:20]) }

// make makes the VM name of the template in n: of a checkpoint, NAME@ID, or of an image.
func (h *Handler) make(ctx context.Context, m *vm.Manager, name string, n note, in newSandbox) error {
	doc, err := n.booting(in.Timeout)
	if err != nil {
		return err
	}
	if from, ref, err := vm.ParseRef(n.Template); err == nil && ref != "" && !strings.Contains(ref, ":") {
		if in.Internet != nil {
			return unserved("allow_internet_access with a snapshot")
		}
		return m.Restore(ctx, from, ref, vm.RestoreOptions{As: name, Note: doc})
	}
	o := vm.CreateOptions{Name: name, Driver: h.o.Driver, Wait: api.BootWait}
	if in.Internet != nil && !*in.Internet {
		o.Net.Network = "none"
	}
	image := n.Template
	if image == baseTemplate {
		image = m.Config.Image
	}
	if image != "" {
		if o.Image, o.Base, err = api.ObtainImage(ctx, m, "create", image, nil); err != nil {
			if h.o.OfRegistry != nil {
				err = h.o.OfRegistry(err)
			}
			return err
		}
	}
	if o.Note, err = n.booting(in.Timeout); err != nil {
		return err
	}
	return m.Create(ctx, o)
}

// booting is the note that a sandbox with a time of t seconds begins with. Its time begins when it can be used; should
// the server be killed before, it has an end all the same.
func (n note) booting(t *int) (vm.Note, error) {
	end, err := until(t, defaultTimeout)
	if err != nil {
		return nil, err
	}
	n.End = end.Add(api.BootWait)
	return n.encode()
}

func (h *Handler) sandboxOf(name, template string) sandbox {
	s := sandbox{Template: template, ID: name, Client: "noid", EnvdVersion: envdVersion, Domain: domain}
	if h.o.Token != "" {
		s.EnvdToken = accessToken(h.o.Token, name)
	}
	return s
}

// detailsOf is i as E2B has it; ok is false of what it has no word for.
func (h *Handler) detailsOf(i vm.Info) (d details, ok bool) {
	n := noteOf(i.Note)
	if n == nil {
		n = &note{Template: "vm"}
	}
	d = details{sandbox: h.sandboxOf(i.Name, n.Template), Started: i.CreatedAt.UTC(), End: n.End, CPUs: i.Machine.CPUs, MemMiB: i.Machine.MemMiB,
		DiskMiB: i.Machine.DiskMiB, Metadata: n.Metadata}
	if n.End.IsZero() {
		d.End = never
	}
	if n.E2B {
		d.Lifecycle = &lifecycle{OnTimeout: onEndKill}
		if n.OnEnd != onEndKill {
			d.Lifecycle.OnTimeout = onEndPause
		}
	}
	switch i.State {
	case vm.Running:
		d.State = "running"
	case vm.Paused:
		d.State, d.PauseMode = "paused", "full"
	case vm.Stopped, vm.Dead:
		d.State, d.PauseMode = "paused", "filesystem"
	}
	return d, d.State != ""
}

func (h *Handler) inspect(ctx context.Context, m *vm.Manager, w http.ResponseWriter, r *http.Request) error {
	i, err := m.Info(ctx, r.PathValue("id"))
	if err != nil {
		return err
	}
	d, ok := h.detailsOf(i)
	if !ok {
		return errs.New(errs.ErrState, "vm %q is %s", i.Name, i.State)
	}
	answer(w, http.StatusOK, d)
	return nil
}

// list lists the VMs that E2B's client has made: a program that kills all that it finds shall not find others.
func (h *Handler) list(ctx context.Context, m *vm.Manager, w http.ResponseWriter, r *http.Request) error {
	f, err := filterOf(r.URL.Query())
	if err != nil {
		return err
	}
	var names []string
	if err := m.Notes(func(name string, doc vm.Note) bool {
		if n := noteOf(doc); n != nil && f.wants(n) {
			names = append(names, name)
		}
		return ctx.Err() == nil
	}); err != nil {
		return err
	}
	list := []details{}
	for _, name := range names {
		i, err := m.Info(ctx, name)
		if err != nil { // it has gone since
			continue
		}
		if d, ok := h.detailsOf(i); ok && f.has(d) {
			d.EnvdToken = ""
			list = append(list, d)
		}
	}
	slices.SortFunc(list, func(a, b details) int {
		order := cmp.Or(b.Started.Compare(a.Started), strings.Compare(a.ID, b.ID))
		if f.oldestFirst {
			return -order
		}
		return order
	})
	if f.after != "" {
		at := slices.IndexFunc(list, func(d details) bool { return d.ID == f.after })
		list = list[at+1:] // from the beginning, if the last one has gone: twice is better than never
	}
	if len(list) > f.limit {
		list = list[:f.limit]
		w.Header().Set("X-Next-Token", list[f.limit-1].ID)
	}
	answer(w, http.StatusOK, list)
	return nil
}

// filter is which sandboxes are listed.
type filter struct {
	metadata        map[string]string
	states          []string
	template, after string
	since           time.Time
	oldestFirst     bool
	limit           int
}

func filterOf(q url.Values) (f filter, err error) {
	f.limit, f.template, f.after, f.oldestFirst = maxPage, q.Get("template"), q.Get("nextToken"), q.Get("order") == "asc"
	if text := q.Get("limit"); text != "" {
		if f.limit, err = strconv.Atoi(text); err != nil || f.limit < 1 {
			return f, errs.New(errs.ErrUsage, "limit: %.20q is no number from 1", text)
		}
		f.limit = min(f.limit, maxPage)
	}
	for _, text := range q["state"] {
		f.states = append(f.states, strings.Split(text, ",")...)
	}
	if text := q.Get("startedAfter"); text != "" {
		if f.since, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return f, errs.New(errs.ErrUsage, "startedAfter: %.60q is no time", text)
		}
	}
	pairs, err := url.ParseQuery(q.Get("metadata"))
	if err != nil {
		return f, errs.New(errs.ErrUsage, "metadata: %v", err)
	}
	f.metadata = map[string]string{}
	for key, values := range pairs { // the client escapes each twice
		k, err := url.PathUnescape(key)
		v, err2 := url.PathUnescape(values[0])
		if err != nil || err2 != nil {
			return f, errs.New(errs.ErrUsage, "metadata: %.60q is not escaped as E2B's client does", key)
		}
		f.metadata[k] = v
	}
	return f, nil
}

// wants reports whether f has a sandbox by its note, has by the rest.
func (f filter) wants(n *note) bool {
	for k, v := range f.metadata {
		if got, ok := n.Metadata[k]; !ok || got != v {
			return false
		}
	}
	return f.template == "" || f.template == n.Template
}

func (f filter) has(d details) bool {
	return !d.Started.Before(f.since) && (len(f.states) == 0 || slices.Contains(f.states, d.State))
}

func (h *Handler) kill(ctx context.Context, m *vm.Manager, w http.ResponseWriter, r *http.Request) error {
	if _, err := m.Destroy(ctx, r.PathValue("id"), false); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
