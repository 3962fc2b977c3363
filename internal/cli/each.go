package cli

import (
	"context"
	"sync"

	"noid/internal/errs"
)

// maxAtOnce bounds how many VMs one command works on side by side: a guest that shuts down is mostly waited for.
const maxAtOnce = 8

// each does do to the VMs called names, some side by side, each once. It does nothing if check refuses one of them. It
// goes on after an error of do. Errors are in the order of names.
func (a *app) each(ctx context.Context, names []string, check func(string) error, do func(context.Context, string) error) error {
	if err := checkAll(names, check); err != nil {
		return err
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
	return errs.Join(problems...)
}

// checkAll returns what check says against names, in their order.
func checkAll(names []string, check func(string) error) error {
	var problems []error
	for _, name := range unique(names) {
		problems = append(problems, check(name))
	}
	return errs.Join(problems...)
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
