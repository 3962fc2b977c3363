package source

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"noid/internal/errs"
	"noid/internal/storage"
)

const (
	parallel   = 4 // layers that are downloaded at the same time
	breakTries = 5 // downloads in a row that break before they bring a byte
)

// PartSuffix ends the name of a layer that is not all there.
const PartSuffix = ".partial"

// Progress counts bytes of compressed layers. A download that has to begin anew counts down.
type Progress struct{ Total, Done atomic.Int64 }

// fetchFunc sends the bytes of a layer from offset on, or from the returned start where that is less.
type fetchFunc func(ctx context.Context, offset int64) (r io.ReadCloser, start int64, err error)

// cache downloads layers into a directory, each to the name of its digest. A layer that is there is kept open until the
// cache is closed, so whoever removes it meanwhile is not in the way.
type cache struct {
	dir      string
	progress *Progress
	ctx      context.Context
	cancel   context.CancelFunc
	slots    chan struct{}
	start    sync.Once
	wg       sync.WaitGroup
	layers   map[string]*download
	order    []*download
}

func newCache(dir string, p *Progress) *cache {
	if p == nil {
		p = &Progress{}
	}
	c := &cache{dir: dir, progress: p, slots: make(chan struct{}, parallel), layers: map[string]*download{}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// close ends the downloads. What has come stays for the next one.
func (c *cache) close() {
	c.cancel()
	c.wg.Wait()
	for _, d := range c.order {
		if d.file != nil {
			d.file.Close()
		}
	}
}

// add makes a layer known, the bottom one first. The returned function opens it, to be read as it comes. The first such
// call begins to download all of them.
func (c *cache) add(digest string, size int64, fetch fetchFunc) func(context.Context) (io.ReadCloser, error) {
	d := c.layers[digest]
	if d == nil {
		d = newDownload(digest, size, fetch)
		c.layers[digest], c.order = d, append(c.order, d)
		c.progress.Total.Add(size)
	}
	return func(ctx context.Context) (io.ReadCloser, error) {
		c.start.Do(func() { c.wg.Go(c.run) })
		ctx, cancel := context.WithCancel(ctx)
		return &downloadReader{ctx: ctx, cancel: cancel, download: d}, nil
	}
}

// run begins the downloads, the top layer's first: so they will be asked for.
func (c *cache) run() {
	for _, d := range slices.Backward(c.order) {
		select {
		case <-c.ctx.Done():
			d.err = c.ctx.Err()
			close(d.done)
			continue
		case c.slots <- struct{}{}:
		}
		c.wg.Go(func() {
			d.file, d.err = c.get(c.ctx, d)
			close(d.done)
			<-c.slots
		})
	}
}

// drop forgets a layer that has proved to be damaged. The next image downloads it again.
func (c *cache) drop(digest string) { os.Remove(filepath.Join(c.dir, LayerFile(digest))) }

// LayerFile is the name under which a layer is kept.
func LayerFile(digest string) string { return strings.ReplaceAll(digest, ":", "-") }

// get returns the file of d, and downloads it first unless it is there. Another noid that does so already is waited for.
func (c *cache) get(ctx context.Context, d *download) (*os.File, error) {
	path := filepath.Join(c.dir, LayerFile(d.digest))
	if f := c.kept(path, d); f != nil {
		return f, nil
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return nil, err
	}
	f, err := storage.LockPath(ctx, path+PartSuffix, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, err
	}
	if whole := c.kept(path, d); whole != nil { // by who had the lock
		os.Remove(f.Name())
		storage.Unlock(f)
		return whole, nil
	}
	err = c.fill(ctx, f, d)
	if err == nil {
		err = storage.Sync(ctx, f)
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = storage.SyncDir(c.dir)
	}
	if err != nil {
		storage.Unlock(f)
		return nil, err
	}
	unix.Flock(int(f.Fd()), unix.LOCK_UN)
	return f, nil
}

// kept opens the layer at path, if it is there.
func (c *cache) kept(path string, d *download) *os.File {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	if info, err := f.Stat(); err != nil || info.Size() != d.size {
		f.Close()
		return nil
	}
	c.progress.Done.Add(d.size)
	return f
}

// fill downloads d into f, after what f has of it already. What an earlier download has left may be damaged: then it
// begins anew, once.
func (c *cache) fill(ctx context.Context, f *os.File, d *download) error {
	h, err := newHash(d.digest)
	if err != nil {
		return err
	}
	have, err := io.Copy(h, io.LimitReader(&contextReader{ctx, f}, d.size))
	if err != nil {
		return err
	}
	if info, err := f.Stat(); err != nil || info.Size() > d.size {
		have = 0
	}
	if err := checkRoom(ctx, c.dir, d.size-have); err != nil {
		return err
	}
	for _, begin := range []int64{have, 0} {
		if begin == 0 {
			h.Reset()
		}
		if err := f.Truncate(begin); err != nil {
			return err
		}
		c.progress.Done.Add(begin)
		// What an earlier download has left is not read before its digest is known.
		if err := c.receive(ctx, f, d, h, begin, begin == 0 && have == 0); err != nil {
			return err
		}
		if err = checkSum(h, d.digest); err == nil {
			return nil
		}
		c.progress.Done.Add(-d.size)
		if begin == 0 {
			break
		}
	}
	f.Truncate(0)
	return errs.WithHint(fmt.Errorf("the download is not what was asked for: %w", err), "a proxy or a mirror may change what it passes on; try another network")
}

// checkRoom refuses a layer that is larger than the disk.
func checkRoom(ctx context.Context, dir string, need int64) error {
	free, err := storage.FreeFor(ctx, dir, need)
	if err == nil && free < need {
		return errs.New(errs.ErrHost, "no space for a layer: it needs %d MiB, and %d MiB are free in %s", need>>20, free>>20, dir).Hint(storage.FullHint)
	}
	return nil
}

// receive writes the bytes of d from have on into f, and into h. A download that breaks goes on where it broke. With
// early, readers get the bytes as they come.
func (c *cache) receive(ctx context.Context, f *os.File, d *download, h hash.Hash, have int64, early bool) error {
	for tries := 0; have < d.size; tries++ {
		n, err := c.part(ctx, f, d, h, have, early)
		if have += n; n > 0 {
			tries = 0
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if _, ok := errors.AsType[breakError](err); err != nil && (tries == breakTries || !ok) {
			return err
		}
		if n == 0 {
			if err := sleep(ctx, busyPause<<min(tries, 3)); err != nil {
				return err
			}
		}
	}
	return nil
}

// breakError is a transfer that ended early, or could not begin.
type breakError struct{ error }

func (e breakError) Unwrap() error { return e.error }

// unreachable reports whether err is a request without an answer, which a later one may have.
func unreachable(err error) bool {
	_, ok := errors.AsType[*url.Error](err)
	return ok && !errors.Is(err, errPlain)
}

// part is one request of receive. It returns the bytes that it has brought.
func (c *cache) part(ctx context.Context, f *os.File, d *download, h hash.Hash, have int64, early bool) (int64, error) {
	r, start, err := d.fetch(ctx, have)
	if err != nil {
		if unreachable(err) {
			err = breakError{err}
		}
		return 0, err
	}
	defer r.Close()
	if _, err := io.CopyN(io.Discard, r, have-start); err != nil {
		return 0, breakError{fmt.Errorf("downloading: %w", err)}
	}
	w := &partWriter{w: io.NewOffsetWriter(f, have), h: h, p: c.progress, grown: func(int64) {}}
	if early {
		w.grown = func(n int64) { d.grow(f, have+n) }
	}
	_, err = io.Copy(w, io.LimitReader(r, d.size-have))
	if w.err != nil {
		return w.n, w.err
	}
	if err == nil && have+w.n < d.size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		err = breakError{fmt.Errorf("downloading: %w after %d of %d bytes", err, have+w.n, d.size)}
	}
	return w.n, err
}

// partWriter writes to the file and the hash, and counts.
type partWriter struct {
	w   io.Writer
	h   hash.Hash
	p   *Progress
	n   int64
	err error // the file's
	// grown is told n.
	grown func(n int64)
}

func (w *partWriter) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	w.h.Write(p[:n])
	w.n += int64(n)
	w.p.Done.Add(int64(n))
	w.grown(w.n)
	w.err = err
	return n, err
}
