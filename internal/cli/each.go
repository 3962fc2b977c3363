package cli

import (
	"context"
	"sync"

	"noid/internal/vm"
)

// maxAtOnce bounds how many VMs one command works on side by side: a guest that shuts down is mostly waited for.
const maxAtOnce = 8

// each does do to the VMs called names, some side by side, each once. All names are checked before the first. It goes
// on after an error and complains of all in the order of names: what it returns is the last, not complained of yet.
func (a *app) each(ctx context.Context, names []string, do func(ctx context.Context, name string) error) error {
	for _, name := range names {
		if err := vm.CheckName(name); err != nil {
			return err
		}
	}
	names = unique(names)
	problems := make([]error, len(names))
	var all sync.WaitGroup
	slots := make(chan struct{}, maxAtOnce)
	for i, name := range names {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			if problems[i] = ctx.Err(); problems[i] == nil {
				problems[i] = do(ctx, name)
			}
		})
	}
	all.Wait()
	var last error
	for _, err := range problems {
		if err == nil {
			continue
		}
		if last != nil && ctx.Err() == nil { // of Ctrl+C is told once
			a.complain(last)
		}
		last = err
	}
	return last
}

// unique is names, each where it came first.
func unique(names []string) (list []string) {
	seen := map[string]bool{}
	for _, name := range names {
		if !seen[name] {
			list = append(list, name)
		}
		seen[name] = true
	}
	return list
}
