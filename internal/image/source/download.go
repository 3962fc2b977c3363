package source

import (
	"context"
	"io"
	"os"
	"sync"
)

// download is one layer on its way. done is closed when file or err is there.
type download struct {
	digest string
	size   int64
	fetch  fetchFunc
	done   chan struct{}
	file   *os.File
	err    error

	mu    sync.Mutex
	part  *os.File      // has the first have bytes
	have  int64         // what may be read before the digest is known
	grown chan struct{} // is closed when there are more
}

func newDownload(digest string, size int64, fetch fetchFunc) *download {
	return &download{digest: digest, size: size, fetch: fetch, done: make(chan struct{}), grown: make(chan struct{})}
}

// grow tells readers that f has n bytes.
func (d *download) grow(f *os.File, n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.part, d.have = f, n
	close(d.grown)
	d.grown = make(chan struct{})
}

// there returns what can be read now, and what is closed when that is more.
func (d *download) there() (f *os.File, have int64, more chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.part, d.have, d.grown
}

// downloadReader reads a layer while it is downloaded. Its end, io.EOF, comes after its digest has been checked.
type downloadReader struct {
	ctx    context.Context
	cancel context.CancelFunc
	*download
	offset int64
}

func (r *downloadReader) Read(p []byte) (int, error) {
	for {
		f, have, more := r.there()
		if r.isDone() {
			if r.err != nil {
				return 0, r.err
			}
			f, have = r.file, r.size
			if r.offset == have {
				return 0, io.EOF
			}
		}
		if r.offset < have {
			n, err := f.ReadAt(p[:min(int64(len(p)), have-r.offset)], r.offset)
			r.offset += int64(n)
			if n > 0 || len(p) == 0 {
				return n, nil
			}
			if r.isDone() && r.err == nil {
				return 0, err
			}
			// The file was closed because the download has failed: wait until it says why.
			more = nil
		}
		select {
		case <-r.ctx.Done():
			return 0, r.ctx.Err()
		case <-r.done:
		case <-more:
		}
	}
}

// verdict waits for the end of the download, and returns why it has failed.
func (r *downloadReader) verdict() error {
	select {
	case <-r.ctx.Done():
		return r.ctx.Err()
	case <-r.done:
		return r.err
	}
}

func (r *downloadReader) isDone() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// Close ends a Read that waits.
func (r *downloadReader) Close() error {
	r.cancel()
	return nil
}
