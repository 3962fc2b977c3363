package flatten

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// tree is what the layers replayed so far make, as if each was unpacked over the one below.
type tree struct {
	root  *Node
	meter *meter
	layer int
}

// apply does what an entry of the layer asks for.
func (t *tree) apply(e *entry) error {
	switch e.action {
	case whiteout:
		return t.whiteout(e.path)
	case opaque:
		dir, err := t.dir(e.path, nil)
		if err != nil || dir == nil {
			return err
		}
		return t.strip(dir)
	case link:
		return t.link(e)
	}
	if e.path == "" {
		t.root.become(e.node)
		return nil
	}
	parent, name := path.Split(e.path)
	dir, err := t.dir(parent, e.node)
	if err != nil {
		return err
	}
	if old := dir.children[name]; old.Node != nil && old.Type() == TypeDir && e.node.Type() == TypeDir {
		old.become(e.node)
		e.node = old.Node
	}
	dir.set(name, dirent{e.node, t.layer})
	return nil
}

// link gives the file e.target, as it is now, another name. It keeps its contents if its first name gets another file.
func (t *tree) link(e *entry) error {
	parent, name := path.Split(e.target)
	dir, err := t.dir(parent, nil)
	if err != nil {
		return fmt.Errorf("its link: %w", err)
	}
	var target *Node
	if dir != nil {
		target = dir.children[name].Node
	}
	if target == nil || name == "" {
		return errors.New("a hard link to a file that is not there")
	}
	if target.Type() == TypeDir {
		return errors.New("a hard link to a directory")
	}
	parent, name = path.Split(e.path)
	if dir, err = t.dir(parent, target); err != nil {
		return err
	}
	if name == "" {
		return errors.New("the root is not a directory")
	}
	dir.set(name, dirent{target, t.layer})
	return nil
}

// whiteout removes what lower layers have of a path. What this layer has stays, wherever in it the whiteout is.
func (t *tree) whiteout(name string) error {
	parent, name := path.Split(name)
	dir, err := t.dir(parent, nil)
	if err != nil || dir == nil {
		return err
	}
	switch child := dir.children[name]; {
	case child.Node == nil:
	case child.layer != t.layer:
		delete(dir.children, name)
	case child.Type() == TypeDir:
		return t.strip(child.Node)
	}
	return nil
}

// strip removes what lower layers have in a directory.
func (t *tree) strip(dir *Node) error {
	if err := t.meter.step(len(dir.children)); err != nil {
		return err
	}
	for name, child := range dir.children {
		if child.layer != t.layer {
			delete(dir.children, name)
		} else if child.Type() == TypeDir {
			if err := t.strip(child.Node); err != nil {
				return err
			}
		}
	}
	return nil
}

// dir finds a directory. Symbolic links on the way are followed within the root. Where there is none it returns nil;
// or, if it is for the file child, makes the directories that are missing, which belong to root and are as old as
// child. All on the way are this layer's then too.
func (t *tree) dir(name string, child *Node) (*Node, error) {
	way, rest, links := []*Node{t.root}, name, 0
	for rest != "" {
		if err := t.meter.step(1); err != nil {
			return nil, err
		}
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		if part == "" || part == "." {
			continue
		}
		if part == ".." {
			way = way[:max(1, len(way)-1)]
			continue
		}
		at := way[len(way)-1]
		next := at.children[part]
		if next.Node == nil && child == nil {
			return nil, nil
		}
		if next.Node == nil {
			if len(part) > maxName {
				return nil, fmt.Errorf("a name on its way has %d bytes, more than %d", len(part), maxName)
			}
			next.Node = &Node{Mode: TypeDir | 0o755, Sec: child.Sec, Nsec: child.Nsec}
			if err := t.meter.take(len(part), 0); err != nil {
				return nil, err
			}
		}
		switch next.Type() {
		case TypeDir:
			if way = append(way, next.Node); len(way) > t.meter.Depth {
				return nil, fmt.Errorf("it is below more than %d directories", t.meter.Depth)
			}
			if child != nil && next.layer != t.layer {
				at.set(part, dirent{next.Node, t.layer})
			}
		case TypeSymlink:
			if links++; links > maxLinks {
				return nil, fmt.Errorf("more than %d symbolic links are on its way", maxLinks)
			}
			if strings.HasPrefix(next.Target, "/") {
				way = way[:1]
			}
			rest = next.Target + "/" + rest
			if err := t.meter.step(len(rest) / 256); err != nil { // copying it is work too
				return nil, err
			}
		default:
			if child == nil {
				return nil, nil
			}
			return nil, fmt.Errorf(`"%s", on its way, is not a directory`, part)
		}
	}
	return way[len(way)-1], nil
}
