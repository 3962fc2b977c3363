package serve

import (
	"bytes"
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

// events is an answer of server-sent events, each with a JSON document as its data.
type events struct {
	mu   sync.Mutex
	w    http.ResponseWriter
	quit chan struct{}
	done sync.WaitGroup
	err  error // the client's end of it
	last time.Time
}

// newEvents begins the answer. The caller calls stop at its end.
func newEvents(w http.ResponseWriter) *events {
	w.Header().Set("Content-Type", eventsType)
	w.WriteHeader(http.StatusOK)
	e := &events{w: w, quit: make(chan struct{}), last: time.Now()}
	http.NewResponseController(w).Flush()
	e.done.Go(e.keepAlive)
	return e
}

// keepAlive sends a comment when nothing else was sent for a while: a client sees that the server is there, and the
// server that the client is not.
func (e *events) keepAlive() {
	tick := time.NewTicker(keepAliveTime)
	defer tick.Stop()
	for {
		select {
		case <-e.quit:
			return
		case <-tick.C:
			e.mu.Lock()
			if time.Since(e.last) >= keepAliveTime {
				e.write([]byte(":\n\n"))
			}
			e.mu.Unlock()
		}
	}
}

func (e *events) stop() {
	close(e.quit)
	e.done.Wait()
}

// send sends an event. An error is that the client has gone.
func (e *events) send(name string, doc any) error {
	data, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	return e.sendRaw(name, data)
}

// sendRaw is send of a document that is one line of JSON.
func (e *events) sendRaw(name string, data []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.write(bytes.Join([][]byte{[]byte("event: " + name + "\ndata: "), data, []byte("\n\n")}, nil))
}

func (e *events) write(b []byte) error {
	if e.err == nil {
		if _, e.err = e.w.Write(b); e.err == nil {
			e.err = http.NewResponseController(e.w).Flush()
		}
		e.last = time.Now()
	}
	return e.err
}

// progress is an event of work that goes on.
type progress struct {
	Message string `json:"message"`
	Done    int64  `json:"done,omitempty" jsonschema:"of total, or so many"`
	Total   int64  `json:"total,omitempty"`
}

// tell sends progress, if the client wants events.
func (c *call) tell(message string, done, total int64) {
	if c.events != nil {
		c.events.send("progress", progress{message, done, total})
	}
}

// tellEvery is how often a client hears how far something long is.
const tellEvery = time.Second

// watch tells the client how far something is until the returned function is called.
func (c *call) watch(far func() progress) (stop func()) {
	if c.events == nil {
		return func() {}
	}
	quit := make(chan struct{})
	var told sync.WaitGroup
	told.Go(func() {
		tick := time.NewTicker(tellEvery)
		defer tick.Stop()
		for last := (progress{}); ; {
			if p := far(); p != last {
				c.events.send("progress", p)
				last = p
			}
			select {
			case <-quit:
				return
			case <-tick.C:
			}
		}
	})
	return func() {
		close(quit)
		told.Wait()
	}
}
