package console

import "strconv"

// event is a marker seen on the console: s, r, a, x, b, e or f, see nonce.bootLine and script. For e and f, code is the
// exit status.
type event struct {
	kind byte
	raw  bool // of b: output processing is off
	code int
}

// parser finds one Exec's markers in what the guest writes and collects the command's output, the bytes between b and
// e. It holds back at most a kernel message and a marker.
type parser struct {
	nonce   string
	kern    matcher // the kernel's messages
	mark    matcher // markers
	found   event   // by match
	running bool
	cooked  bool
	cr      bool // cooked: a carriage return whose fate the next byte decides
	out     []byte
	events  []event
}

func newParser(n nonce) *parser { return &parser{nonce: n.String()} }

// feed parses data. It returns the output and the events found, both valid until the next call.
func (p *parser) feed(data []byte) (out []byte, events []event) {
	p.out, p.events = p.out[:0], p.events[:0]
	for _, c := range data {
		if p.running && p.cooked {
			p.kern.flush(p.byte)
			p.byte(c)
		} else {
			p.kern.add(c, matchKernel, p.byte)
		}
	}
	return p.out, p.events
}

// idle says that nothing came for a while: what looks like the beginning of a kernel message is the command's own.
func (p *parser) idle() (out []byte, events []event) {
	p.out, p.events = p.out[:0], p.events[:0]
	p.kern.flush(p.byte)
	return p.out, p.events
}

// finish releases everything held back, at the end of a command that did not report it.
func (p *parser) finish() []byte {
	p.idle()
	p.mark.flush(p.emit)
	p.emitCR()
	return p.out
}

func (p *parser) byte(c byte) {
	if p.mark.add(c, p.match, p.emit) {
		p.event(p.found)
	}
}

// match reports whether m is a whole marker, or else the beginning of one.
func (p *parser) match(m []byte) (complete, viable bool) {
	p.found = event{}
	ev := &p.found
	n := min(len(m), len(p.nonce))
	if string(m[:n]) != p.nonce[:n] {
		return false, false
	}
	rest := m[n:]
	switch {
	case len(rest) == 0:
		return false, true
	case rest[0] != ':':
		return false, false
	case len(rest) == 1:
		return false, true
	}
	ev.kind = rest[1]
	arg, dot := rest[2:], false
	if k := len(arg); k > 0 && arg[k-1] == '.' {
		arg, dot = arg[:k-1], true
	}
	ok := false
	switch ev.kind {
	case 's', 'r', 'a', 'x':
		return dot && len(arg) == 0, len(arg) == 0
	case 'b':
		ok = len(arg) == 0 && !dot || len(arg) == 1 && (arg[0] == 'r' || arg[0] == 'c')
		ev.raw = len(arg) == 1 && arg[0] == 'r'
	case 'e', 'f':
		ok = len(arg) <= 3 && (len(arg) > 0 || !dot)
		for _, d := range arg {
			ok = ok && d >= '0' && d <= '9'
		}
		ev.code, _ = strconv.Atoi(string(arg))
	}
	return ok && dot, ok
}

func (p *parser) event(ev event) {
	switch ev.kind {
	case 'b':
		p.running, p.cooked = true, !ev.raw
	case 'e', 'f':
		p.emitCR()
		p.running = false
	}
	p.events = append(p.events, ev)
}

func (p *parser) emit(c byte) {
	if !p.running {
		return
	}
	if p.cooked && c == '\r' {
		p.emitCR()
		p.cr = true
		return
	}
	if c == '\n' {
		p.cr = false // the tty's own
	}
	p.emitCR()
	p.out = append(p.out, c)
}

func (p *parser) emitCR() {
	if p.cr {
		p.out = append(p.out, '\r')
		p.cr = false
	}
}

// matcher takes out of a stream what match calls complete. It keeps the bytes that may become that, as match says.
type matcher struct{ held []byte }

// add takes the next byte and reports whether it completes a match. Bytes that belong to none go to emit.
func (m *matcher) add(c byte, match func([]byte) (complete, viable bool), emit func(byte)) bool {
	m.held = append(m.held, c)
	for len(m.held) > 0 {
		complete, viable := match(m.held)
		if complete {
			m.held = m.held[:0]
		}
		if complete || viable {
			return complete
		}
		first := m.held[0]
		m.held = m.held[1:]
		emit(first)
	}
	return false
}

// flush gives everything to emit.
func (m *matcher) flush(emit func(byte)) {
	held := m.held
	m.held = nil
	for _, c := range held {
		emit(c)
	}
}

// kernelMax bounds a message: the kernel's own limit is 1024 bytes with the prefix (PRINTKRB_RECORD_MAX, printk.c).
const kernelMax = 1100

// matchKernel reports whether b is a whole kernel message, "[ 12.345678] text\r\n", or the beginning of one. The tty
// has output processing off: a command's own lines end in a bare newline, and the kernel's serial driver adds a
// carriage return to its own. They may come in the middle of anything.
func matchKernel(b []byte) (complete, viable bool) {
	i := 0
	eat := func(ok func(byte) bool, max int) (n int) {
		for i < len(b) && n < max && ok(b[i]) {
			i++
			n++
		}
		return n
	}
	is := func(want byte) func(byte) bool { return func(c byte) bool { return c == want } }
	digit := func(c byte) bool { return c >= '0' && c <= '9' }
	steps := []struct {
		ok       func(byte) bool
		min, max int
	}{{is('['), 1, 1}, {is(' '), 0, 8}, {digit, 1, 10}, {is('.'), 1, 1}, {digit, 6, 6}, {is(']'), 1, 1}}
	for _, s := range steps {
		if n := eat(s.ok, s.max); n < s.min {
			return false, i == len(b)
		}
	}
	if i < len(b) && b[i] != ' ' && b[i] != '[' { // "[ 1.000000] text" or, with PRINTK_CALLER, "[ 1.000000][ T1] text"
		return false, false
	}
	eat(func(c byte) bool { return c >= ' ' && c != 0x7f || c == '\t' }, kernelMax)
	switch rest := b[i:]; {
	case len(b) > kernelMax:
		return false, false
	case len(rest) == 0, len(rest) == 1 && rest[0] == '\r':
		return false, true
	default:
		return len(rest) == 2 && rest[0] == '\r' && rest[1] == '\n', false
	}
}
