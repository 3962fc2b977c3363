package cli

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/term"

	"noid/internal/image/source"
)

// showDownload shows on a terminal how far a download is, when it takes more than a second. The returned function ends
// it.
func (a *app) showDownload(p *source.Progress) (stop func()) {
	if a.quiet || !term.IsTerminal(int(os.Stderr.Fd())) {
		return func() {}
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for last := p.Done.Load(); ; {
			select {
			case <-quit:
				fmt.Fprint(a.err, "\r\x1b[K")
				return
			case <-tick.C:
			}
			now := p.Done.Load()
			fmt.Fprintf(a.err, "\r\x1b[K%s", downloadLine(now, p.Total.Load(), now-last))
			last = now
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}

// downloadLine is what is shown of a download: bytes, those in the last second, what is left.
func downloadLine(done, total, rate int64) string {
	switch {
	case total == 0:
		return "reading the image"
	case done >= total:
		return fmt.Sprintf("%s downloaded, building the image", size(total))
	case rate <= 0:
		return fmt.Sprintf("%s of %s", size(done), size(total))
	}
	left := time.Duration((total-done)/rate+1) * time.Second
	return fmt.Sprintf("%s of %s, %s/s, %s left", size(done), size(total), size(rate), left)
}
