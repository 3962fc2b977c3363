package console

import "strconv"

// event is a marker seen on the console: s, r, a, x, b, e or f, see nonce.bootLine and script. For e and f, code is the
// exit status.
type event struct {
	kind byte
	raw  bool // of b: output processing is off
	code int
}

// parser finds one Exec's markers in what the guest writes and collects the command's output, the bytes between b and e.
// It holds back at most a kernel message and a marker.
type parser struct {
	nonce   string
	kern    kernelFilter
	mark    []byte // the beginning of what may become a marker
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
			p.kern.byte(c, p.byte)
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
	for _, c := range p.mark {
		p.emit(c)
	}
	p.mark = p.mark[:0]
	p.emitCR()
	return p.out
}

func (p *parser) byte(c byte) {
	p.mark = append(p.mark, c)
	for len(p.mark) > 0 {
		ev, complete, viable := p.match(p.mark)
		if complete {
			p.mark = p.mark[:0]
			p.event(ev)
			return
		}
		if viable {
			return
		}
		p.emit(p.mark[0])
		p.mark = p.mark[:copy(p.mark, p.mark[1:])]
	}
}

// match reports whether m is a whole marker, or else the beginning of one.
func (p *parser) match(m []byte) (ev event, complete, viable bool) {
	n := min(len(m), len(p.nonce))
	if string(m[:n]) != p.nonce[:n] {
		return ev, false, false
	}
	rest := m[n:]
	switch {
	case len(rest) == 0:
		return ev, false, true
	case rest[0] != ':':
		return ev, false, false
	case len(rest) == 1:
		return ev, false, true
	}
	ev.kind = rest[1]
	arg, dot := rest[2:], false
	if k := len(arg); k > 0 && arg[k-1] == '.' {
		arg, dot = arg[:k-1], true
	}
	ok := false
	switch ev.kind {
	case 's', 'r', 'a', 'x':
		return ev, dot && len(arg) == 0, len(arg) == 0
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
	return ev, ok && dot, ok
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

// kernelFilter removes the kernel's messages, "[ 12.345678] text\r\n", from a console whose tty has output processing
// off. The kernel's serial driver adds the carriage return, while a command's own lines end in a bare newline; they may
// come in the middle of anything.
type kernelFilter struct{ hold []byte }

// kernelMax bounds a message: the kernel's own limit is 1024 bytes with the prefix (PRINTKRB_RECORD_MAX, printk.c).
const kernelMax = 1100

func (k *kernelFilter) byte(c byte, emit func(byte)) {
	k.hold = append(k.hold, c)
	for len(k.hold) > 0 {
		complete, viable := matchKernel(k.hold)
		if complete {
			k.hold = k.hold[:0]
			return
		}
		if viable {
			return
		}
		k.release(emit)
	}
}

// release lets the first byte held go, and those behind it that cannot begin a message.
func (k *kernelFilter) release(emit func(byte)) {
	i := 0
	for first := true; i < len(k.hold) && (first || k.hold[i] != '['); first = false {
		emit(k.hold[i])
		i++
	}
	k.hold = k.hold[:copy(k.hold, k.hold[i:])]
}

func (k *kernelFilter) flush(emit func(byte)) {
	for len(k.hold) > 0 {
		k.release(emit)
	}
}

// matchKernel reports whether b is a whole kernel message, or else the beginning of one.
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
