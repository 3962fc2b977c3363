package serve

import (
	"crypto/sha256"
	"net/http"
	"strings"
	"sync"
	"time"

	"noid/internal/errs"
)

// Bounds of the answers that are kept for their Idempotency-Keys.
const (
	maxAnswers    = 1000
	maxAnswerSize = 64 << 20 // bytes of all
	answerLife    = time.Hour
	maxKey        = 255
)

// answer is how an operation ended: with a document, or a problem of a kind.
type answer struct {
	status int
	doc    []byte
	kind   string
}

// lasting reports whether a repetition is to have this answer: one that did not find somebody else at work.
func (a answer) lasting() bool { return a.kind != "busy" }

// interrupted is the answer to each repetition of a request whose work was interrupted. What it has done by then only who
// looks can say, so that it is not done again under the same key.
func interrupted(key string) answer {
	p := problemOf(errs.New(errInterrupted, "the request with the Idempotency-Key %.60q was interrupted: it may have been done, in whole or in part", key).Hint("look at what is there; to do it again, make a new key"))
	return answer{p.Status, encode(p), p.Kind}
}

// answers keeps the answers to requests with an Idempotency-Key. Its zero value is empty.
type answers struct {
	mu    sync.Mutex
	list  []*kept // the oldest first
	byKey map[string]*kept
	size  int
}

// kept is an answer, or that it is under way.
type kept struct {
	key   string
	sum   [sha256.Size]byte // of the request
	ended chan struct{}     // closed when answer is there
	answer
	until time.Time
}

// once has work answer the request r, once for its key. A repetition waits for the answer of the first; when the first was
// interrupted, that is its answer. The same key with another request is errKeyReused.
func (s *answers) once(r *http.Request, keys []string, body []byte, work func() answer) (answer, error) {
	key := keys[0]
	if len(keys) > 1 || key == "" || len(key) > maxKey || strings.ContainsFunc(key, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return answer{}, errs.New(errs.ErrUsage, "Idempotency-Key: it is one word of 1 to %d ASCII characters", maxKey)
	}
	sum := sha256.Sum256(append([]byte(r.Method+" "+r.URL.RequestURI()+"\n"), body...))
	for {
		k, first := s.enter(key, sum)
		if k.sum != sum {
			return answer{}, errs.New(errKeyReused, "Idempotency-Key %.60q came with another request", key).Hint("make a new key for each change")
		}
		if first {
			done := false
			defer func() {
				if !done { // work has panicked
					s.leave(k, interrupted(key))
				}
			}()
			a := work()
			done = true
			if a.kind != "" && a.kind != "busy" && r.Context().Err() != nil || a.kind == "interrupted" {
				s.leave(k, interrupted(key))
			} else {
				s.leave(k, a) // a client that has gone may come again for what was done
			}
			return a, nil
		}
		select {
		case <-k.ended:
			if k.lasting() {
				return k.answer, nil
			}
		case <-r.Context().Done():
			return answer{}, r.Context().Err()
		}
	}
}

// instanceHeader names, in a repetition, the server that the first request was sent to.
const instanceHeader = "Noid-Instance"

// sameInstance refuses a repetition of what another server was asked, which has taken its keys along.
func (s *server) sameInstance(r *http.Request) error {
	if want := r.Header.Get(instanceHeader); want != "" && want != s.instance {
		return errs.New(errInterrupted, "the server %.60q has ended: what was asked of it may have been done, in whole or in part", want).Hint("look at what is there; to do it again, make a new key")
	}
	return nil
}

// enter returns what is there of key, or begins it.
func (s *answers) enter(key string, sum [sha256.Size]byte) (k *kept, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire()
	if k := s.byKey[key]; k != nil {
		return k, false
	}
	if s.byKey == nil {
		s.byKey = map[string]*kept{}
	}
	k = &kept{key: key, sum: sum, ended: make(chan struct{})}
	s.byKey[key] = k
	return k, true
}

// leave notes the answer of k.
func (s *answers) leave(k *kept, a answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k.answer, k.until = a, time.Now().Add(answerLife)
	close(k.ended)
	if !a.lasting() {
		delete(s.byKey, k.key)
		return
	}
	s.list, s.size = append(s.list, k), s.size+len(a.doc)
	s.expire()
}

// expire forgets what is too old or too much.
func (s *answers) expire() {
	for len(s.list) > 0 && (len(s.list) > maxAnswers || s.size > maxAnswerSize || time.Now().After(s.list[0].until)) {
		delete(s.byKey, s.list[0].key)
		s.size -= len(s.list[0].doc)
		s.list = s.list[1:]
	}
}
