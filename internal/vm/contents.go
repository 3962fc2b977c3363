package vm

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"noid/internal/link/tree"
)

// Bounds of what is read of files.
const (
	maxAsked     = 20_000    // files whose contents are compared; the others are taken for different
	maxText      = 256 << 10 // bytes of a text
	maxTextBytes = 32 << 20  // of all texts
)

// asked is a content that is asked for.
type asked struct {
	at    place
	path  string
	limit int // how many bytes of it at most, beside its sum
	to    *tree.Content
}

// ask has the guests read files, each side all of its own at once. Of every file it wants the sum.
func (c *comparison) ask(ctx context.Context, list []asked) error {
	var problems []error
	for _, s := range []*side{c.a, c.b} {
		var in []byte
		var mine []asked
		for _, a := range list {
			if a.at.side == s {
				mine = append(mine, a)
				in = tree.AppendAsk(in, tree.Ask{Path: strings.TrimPrefix(a.path, "/"), Base: a.at.base, Limit: a.limit})
			}
		}
		if len(mine) > 0 {
			problems = append(problems, s.read(ctx, in, mine))
		}
	}
	return errors.Join(problems...)
}

// read has the side's guest answer the requests in.
func (s *side) read(ctx context.Context, in []byte, list []asked) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := s.run(ctx, bytes.NewReader(in), w, "contents")
		w.CloseWithError(cmp.Or(err, io.EOF))
		ended <- err
	}()
	answers := bufio.NewReader(r)
	for _, a := range list {
		var err error
		if *a.to, err = tree.ReadContent(answers, a.limit); err != nil {
			cancel()
			r.Close()
			if failed := <-ended; failed != nil && !errors.Is(failed, context.Canceled) {
				err = failed
			}
			return s.errorf("diff of", err)
		}
	}
	go io.Copy(io.Discard, r)
	return <-ended
}

// contents finds out of which files the contents differ where what stat says does not tell.
func (c *comparison) contents(ctx context.Context) error {
	var list []asked
	found := map[int]*[2]tree.Content{}
	for i, change := range c.changes {
		if change.unsure && len(found) < maxAsked {
			two := &[2]tree.Content{}
			found[i] = two
			list = append(list, asked{change.oldAt, change.Path, 0, &two[0]}, asked{change.newAt, change.Path, 0, &two[1]})
		}
	}
	if err := c.ask(ctx, list); err != nil {
		return err
	}
	kept := c.changes[:0]
	for i, change := range c.changes {
		switch two := found[i]; {
		case !change.unsure:
		case two == nil && len(change.What) > 0 && change.Before.Mtime == change.After.Mtime: // as of many whose mode changed
			c.cut = true
		case two == nil || !two[0].OK || !two[1].OK || two[0].Sum != two[1].Sum:
			change.What = append(change.What, "content")
		}
		if change.Kind != Changed || len(change.What) > 0 {
			kept = append(kept, change)
		}
	}
	c.changes = kept
	return nil
}

// renames makes one change of each file that has gone from one path and come at another: where that is sure.
func (c *comparison) renames(ctx context.Context) error {
	pairs, err := c.samePairs(ctx)
	if err != nil || len(pairs) == 0 {
		return err
	}
	gone := map[int]bool{}
	dirs := map[string]string{} // new paths of renamed directories by the old ones
	for to, from := range pairs {
		n, o := &c.changes[to], c.changes[from.at]
		n.Kind, n.From, n.Before, n.oldAt = Renamed, o.Path, o.Before, o.oldAt
		n.What, n.unsure = differences(n.Before, n.After, false)
		if n.unsure && !from.equal {
			n.What = append(n.What, "content")
		}
		if n.Before.Mode&unix.S_IFMT == unix.S_IFDIR {
			dirs[o.Path] = n.Path
		}
		gone[from.at] = true
	}
	kept := c.changes[:0]
	for i, change := range c.changes {
		moved := change.Kind == Renamed && len(change.What) == 0 && path.Base(change.From) == path.Base(change.Path) &&
			dirs[path.Dir(change.From)] == path.Dir(change.Path) // with its directory
		if !gone[i] && !moved {
			kept = append(kept, change)
		}
	}
	c.changes = kept
	return nil
}

// pair is what a file was before, by its place in changes.
type pair struct {
	at    int
	equal bool // its content was the same
}

// samePairs returns, by its place in changes, of each file that has come the one that it was: the same inode, or the one
// with the same content where only one has gone and only one has come.
func (c *comparison) samePairs(ctx context.Context) (map[int]pair, error) {
	type inode struct {
		number uint64
		birth  int64
		kind   uint32
	}
	pairs, used := map[int]pair{}, map[int]bool{}
	match := func(added, removed map[any][]int, equal bool) {
		for key, to := range added {
			if from := removed[key]; len(to) == 1 && len(from) == 1 {
				pairs[to[0]], used[to[0]], used[from[0]] = pair{from[0], equal}, true, true
			}
		}
	}
	added, removed := map[any][]int{}, map[any][]int{}
	for i, change := range c.changes {
		if f := cmp.Or(change.After, change.Before); c.related && f.Birth != 0 {
			put(added, removed, change.Kind, inode{f.Inode, f.Birth, f.Mode & unix.S_IFMT}, i)
		}
	}
	match(added, removed, false)
	bySize := [2]map[any][]int{{}, {}}
	for i, change := range c.changes {
		if f := cmp.Or(change.After, change.Before); !used[i] && f.Mode&unix.S_IFMT == unix.S_IFREG && f.Size > 0 && f.Size <= tree.MaxContent {
			put(bySize[0], bySize[1], change.Kind, f.Size, i)
		}
	}
	var list []asked
	contents := map[int]*tree.Content{}
	for size, to := range bySize[0] {
		from := bySize[1][size]
		if len(from) == 0 || len(list)+len(from)+len(to) > maxAsked {
			continue
		}
		for _, i := range slices.Concat(from, to) {
			contents[i] = &tree.Content{}
			at := c.changes[i].newAt
			if c.changes[i].Kind == Removed {
				at = c.changes[i].oldAt
			}
			list = append(list, asked{at, c.changes[i].Path, 0, contents[i]})
		}
	}
	if err := c.ask(ctx, list); err != nil {
		return nil, err
	}
	added, removed = map[any][]int{}, map[any][]int{}
	for i, content := range contents {
		if content.OK {
			put(added, removed, c.changes[i].Kind, content.Sum, i)
		}
	}
	match(added, removed, true)
	return pairs, nil
}

// put puts the change i into added or removed, whichever it is.
func put(added, removed map[any][]int, kind ChangeKind, key any, i int) {
	switch kind {
	case Added:
		added[key] = append(added[key], i)
	case Removed:
		removed[key] = append(removed[key], i)
	}
}

// texts fills in the texts of what differs.
func (c *comparison) texts(ctx context.Context) error {
	var list []asked
	left := int64(maxTextBytes)
	two := make([][2]tree.Content, len(c.changes))
	for i, change := range c.changes {
		if change.Kind != Added && change.Kind != Removed && !slices.Contains(change.What, "content") {
			continue
		}
		for j, f := range []*tree.File{change.Before, change.After} {
			at, name := change.oldAt, cmp.Or(change.From, change.Path)
			if j == 1 {
				at, name = change.newAt, change.Path
			}
			if f == nil || f.Mode&unix.S_IFMT != unix.S_IFREG || f.Size > min(maxText, left) {
				continue
			}
			left -= f.Size
			if two[i][j].Data = []byte{}; f.Size > 0 { // a guest that sends more than it has listed is refused
				list = append(list, asked{at, name, int(f.Size), &two[i][j]})
			}
		}
	}
	if err := c.ask(ctx, list); err != nil {
		return err
	}
	for i := range c.changes {
		c.changes[i].Old, c.changes[i].New = text(two[i][0]), text(two[i][1])
	}
	return nil
}

// text is a content, if that is a text.
func text(c tree.Content) []byte {
	if !utf8.Valid(c.Data) || bytes.IndexByte(c.Data, 0) >= 0 {
		return nil
	}
	return c.Data
}
