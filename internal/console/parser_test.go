package console

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// parse feeds console in pieces of the given size and returns the output and the kinds of the events.
func parse(console string, size int) (out, kinds string, code int) {
	p := newParser(nonce{"0123456789", "abcdefghij"})
	for len(console) > 0 {
		n := min(size, len(console))
		o, events := p.feed([]byte(console[:n]))
		out += string(o)
		for _, ev := range events {
			kinds += string(ev.kind)
			code = ev.code
		}
		console = console[n:]
	}
	return out, kinds, code
}

func TestParser(t *testing.T) {
	const n = "0123456789abcdefghij"
	for name, c := range map[string]struct {
		in, out, kinds string
		code           int
	}{
		"nothing":             {"boot text # ", "", "", 0},
		"the echo is no mark": {" echo 0123456789''abcdefghij:s.\r\n" + n + ":s.\r\n", "", "s", 0},
		"raw":                 {n + ":br.out\r\n\n" + n + ":e3.\n# ", "out\r\n\n", "be", 3},
		"cooked":              {n + ":bc.a\r\nb\rc\r\r\n\r" + n + ":e0.\r\n# ", "a\nb\rc\r\n\r", "be", 0},
		"second report":       {n + ":br.x" + n + ":e255.\n" + n + ":f255.\n", "x", "bef", 255},
		"near markers": {n + ":br." + n[:19] + n + ":e1234." + n + ":e." + n + ":z." + n + "0:e5." + n + ":e6.",
			n[:19] + n + ":e1234." + n + ":e." + n + ":z." + n + "0:e5.", "be", 6},
		"marker in a marker's beginning": {n + ":br.0123456789abc" + n + ":e0.", "0123456789abc", "be", 0},
		"kernel message":                 {n + ":br.a[    1.234567] eth0: up\r\nb\n[   22.000001][    T1] x [y]\r\n" + n + ":e0.", "ab\n", "be", 0},
		"kernel in a marker":             {n + ":br.a" + n[:5] + "[    1.234567] up\r\n" + n[5:] + ":e0.", "a", "be", 0},
		"not the kernel's":               {n + ":br.[    1.234567] up\n[1.2] up\r\n[ x\r\n[[1" + n + ":e0.", "[    1.234567] up\n[1.2] up\r\n[ x\r\n[[1", "be", 0},
		"kernel text of a cooked guest":  {n + ":bc.[    1.234567] up\r\n" + n + ":e0.", "[    1.234567] up\n", "be", 0},
		"too long for the kernel": {n + ":br.[    1.234567] " + strings.Repeat("x", kernelMax) + "\r\n" + n + ":e0.",
			"[    1.234567] " + strings.Repeat("x", kernelMax) + "\r\n", "be", 0},
	} {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{1, 2, 7, 1 << 20} {
				out, kinds, code := parse(c.in, size)
				if out != c.out || kinds != c.kinds || code != c.code {
					t.Errorf("in pieces of %d: got %q, %s, %d; want %q, %s, %d", size, out, kinds, code, c.out, c.kinds, c.code)
				}
			}
		})
	}
}

// FuzzParser looks for input that the parser holds on to, or that comes out differently in other pieces.
func FuzzParser(f *testing.F) {
	const n = "0123456789abcdefghij"
	f.Add([]byte(n+":br.a[    1.234567] b\r\n"+n[:3]+n+":e12.x"), 3)
	f.Add([]byte(n+":bc.\r\r\n[[ 1.000000] "+n+":f0."), 1)
	f.Fuzz(func(t *testing.T, data []byte, size int) {
		if size < 1 || len(data) > 8192 {
			return
		}
		out1, kinds1, _ := parse(string(data), 1)
		out2, kinds2, _ := parse(string(data), size)
		if out1 != out2 || kinds1 != kinds2 {
			t.Errorf("pieces of 1: %q %s; of %d: %q %s", out1, kinds1, size, out2, kinds2)
		}
		p := newParser(nonce{n[:10], n[10:]})
		p.feed(data)
		if held := len(p.kern.held) + len(p.mark.held); held > kernelMax+32 {
			t.Errorf("holds %d bytes", held)
		}
		// What is not a marker nor the kernel's comes out: all of it, in order.
		p = newParser(nonce{n[:10], n[10:]})
		p.feed([]byte(n + ":br."))
		if !bytes.ContainsAny(data, "[") && !bytes.Contains(data, []byte(n)) {
			var out []byte
			o, _ := p.feed(data)
			out = append(out, o...)
			out = append(out, p.finish()...)
			if !bytes.Equal(out, data) {
				t.Error(cmp.Diff(data, out))
			}
		}
	})
}

func TestTypedLinesStayShort(t *testing.T) {
	n := newNonce()
	if l := len(n.bootLine()); l > 900 { // busybox's editor takes 1023, and the kernel 4095
		t.Errorf("the receiver's line has %d bytes", l)
	}
	if strings.Contains(n.bootLine()+n.syncLine(), n.String()) {
		t.Error("the whole nonce is in what is typed")
	}
	blocks := encode(script(command([]string{"printf", strings.Repeat("\x00ü\\\n.?=", 3000)})))
	for i, b := range blocks {
		for line := range strings.Lines(b) {
			if len(line) > 512 || strings.Trim(line, " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~\n") != "" {
				t.Fatalf("block %d has the line %q", i, line)
			}
		}
		if len(b) > 4095 {
			t.Errorf("block %d has %d bytes", i, len(b))
		}
	}
}

// The quoting is right when a shell gives back what it was given.
func FuzzCommand(f *testing.F) {
	f.Add("it's", `\0`, "\n")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		if strings.ContainsRune(a+b+c, 0) {
			return
		}
		out, err := exec.Command("sh", "-c", command([]string{"printf", "%s|%s|%s", a, b, c})).Output()
		if want := a + "|" + b + "|" + c; err != nil || string(out) != want {
			t.Errorf("got %q, %v; want %q", out, err, want)
		}
	})
}
