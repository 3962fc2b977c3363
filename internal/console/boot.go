package console

import (
	"bytes"
	"context"
	"strings"

	"noid/internal/lazy"
)

// AgentLine is the end of the line that noid-init writes to the console when it has started the agent, before anything
// of the root file system runs.
const AgentLine = "noid-init: the agent runs"

// Boot is what a guest's console tells of its boots.
type Boot struct {
	Agent bool // noid-init has started the agent
	Root  bool // something of the root file system has written
}

// ReadBoot reads the console's log of the VM in dir. A guest that forges it only makes noid wait for its agent, or
// type.
func ReadBoot(ctx context.Context, dir string) (Boot, error) {
	var b bootReader
	err := CopyLog(ctx, &b, logPath(dir), -1, false, nil)
	b.see()
	return b.Boot, err
}

// maxBootLine is how much of a line is looked at, in bytes.
const maxBootLine = 256

var (
	escape = lazy.Regexp(`\x1b(c|\[[0-9;?]*[a-zA-Z])`)
	// early is what comes before the root file system: of QEMU's firmware, the kernel and noid-init.
	early = lazy.Regexp(`^($|SeaBIOS |Booting from |\[ *[0-9]+\.[0-9]+\] |noid-init: )`)
)

type bootReader struct {
	Boot
	line []byte
}

func (b *bootReader) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		text, more, whole := bytes.Cut(rest, []byte("\n"))
		b.line = append(b.line, text[:min(len(text), maxBootLine-len(b.line))]...)
		if rest = more; whole {
			b.see()
			b.line = b.line[:0]
		}
	}
	return len(p), nil
}

// see looks at a line, which may be unfinished.
func (b *bootReader) see() {
	line := strings.TrimSpace(escape().ReplaceAllString(string(b.line), ""))
	switch {
	case strings.HasSuffix(line, AgentLine): // the kernel may have left a line unfinished
		b.Agent = true
	case !early().MatchString(line):
		b.Root = true
	}
}
