package vmm

import (
	"context"
	"time"

	"noid/internal/errs"
)

// Bounded is ctx with a limit of its own: a VMM that hangs must not hang noid. Its cause is then an errs.ErrTimeout
// which says that it waited for what.
func Bounded(ctx context.Context, limit time.Duration, what string) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, limit, errs.New(errs.ErrTimeout, "timed out waiting for %s", what))
}

// Sleep waits for d or the end of ctx, whose cause it returns.
func Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
