package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"noid/internal/vmm"
)

// console talks to the shell on a guest's serial console.
type console struct {
	dir   string
	nonce int
}

// send types text.
func (c *console) send(t *testing.T, text string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(c.dir, vmm.SerialInFile), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// text returns all that the guest has written.
func (c *console) text(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(c.dir, vmm.SerialLogFile))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// mark returns a word that no one has written yet, and how to type it so that its echo is not mistaken for it.
func (c *console) mark() (word, typed string) {
	c.nonce++
	word = fmt.Sprintf("MARK%d-%d", os.Getpid(), c.nonce)
	return word, word[:2] + "''" + word[2:]
}

// await asks the shell for a word until it answers: what is typed before it runs is lost.
func (c *console) await(t *testing.T, limit time.Duration) {
	t.Helper()
	word, typed := c.mark()
	start := ""
	for deadline := time.Now().Add(limit); ; {
		c.send(t, start+"\necho "+typed+"\n")
		start = "\x03" // a line that lost its second quote would swallow all that follow
		for range 20 {
			time.Sleep(50 * time.Millisecond)
			if strings.Contains(c.text(t), word) {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("no shell on the console")
		}
	}
}

// run has the shell run a command and returns what it wrote.
func (c *console) run(t *testing.T, command string) string {
	t.Helper()
	begin, typedBegin := c.mark()
	end, typedEnd := c.mark()
	c.send(t, "echo "+typedBegin+"; "+command+"; echo "+typedEnd+"\n")
	for deadline := time.Now().Add(stepLimit); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		_, after, ok := strings.Cut(c.text(t), begin+"\r\n")
		if out, _, done := strings.Cut(after, end); ok && done {
			return strings.TrimSpace(strings.ReplaceAll(out, "\r", ""))
		}
	}
	t.Fatalf("the shell did not end %q", command)
	return ""
}

// wantRun runs a command and checks what it wrote.
func (c *console) wantRun(t *testing.T, command, want string) {
	t.Helper()
	if got := c.run(t, command); got != want {
		t.Fatalf("%q wrote %q, want %q", command, got, want)
	}
}
