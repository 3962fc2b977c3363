package flatten

import "strings"

// hidden guesses what higher layers hide, by the text of paths alone. It is a guess, since links lead elsewhere: that a
// file is needed after all is found when the layers are replayed.
type hidden map[string]mark

type mark uint8

const (
	markPath  mark = 1 << iota // hides the path
	markBelow                  // hides all that is below
)

// add notes the entries of a layer.
func (h hidden) add(entries []entry) {
	for i := range entries {
		switch e := &entries[i]; {
		case e.action == opaque:
			h[e.path] |= markBelow
		case e.action == put && e.node.Type() == TypeDir:
			h[e.path] |= markPath
		default:
			h[e.path] |= markPath | markBelow
		}
	}
}

// hides tells whether layers noted so far hide a file of a layer below them.
func (h hidden) hides(name string) bool {
	if len(h) == 0 {
		return false
	}
	if h[name]&markPath != 0 {
		return true
	}
	for i := strings.LastIndexByte(name, '/'); i >= 0; i = strings.LastIndexByte(name[:i], '/') {
		if h[name[:i]]&markBelow != 0 {
			return true
		}
	}
	return h[""]&markBelow != 0
}
