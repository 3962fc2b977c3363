package page

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/dom"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patience is how long a step may take at the slowest: a guest boots meanwhile, without KVM.
const patience = 2 * time.Minute

// browser is a browser on noid's page, and the server behind it.
type browser struct {
	*testing.T
	ctx        context.Context
	bin, home  string
	address    string // with the token
	axe        string
	alerts     []string
	complaints []string // of the console: a policy that is broken, an error of a script
}

// open starts a server with a home of its own, and a browser at its page.
func open(t *testing.T) *browser {
	b := &browser{T: t, bin: environment(t, "NOID_TEST_BIN"), home: filepath.Join(t.TempDir(), "home")}
	axe, err := os.ReadFile(environment(t, "NOID_TEST_AXE"))
	check(t, err)
	b.axe = string(axe)
	check(t, os.Mkdir(b.home, 0o700))
	check(t, os.WriteFile(filepath.Join(b.home, "config.toml"), fmt.Appendf(nil, "driver = \"qemu\"\nkernel = %q\nrootfs = %q\nwarm = \"off\"\nnet = \"none\"\n",
		environment(t, "NOID_TEST_KERNEL"), environment(t, "NOID_TEST_ROOTFS")), 0o600))
	t.Cleanup(b.clean)
	b.serve()
	o := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(environment(t, "NOID_TEST_CHROMIUM")), chromedp.WindowSize(1100, 800), chromedp.Flag("disable-dev-shm-usage", true))
	if os.Geteuid() == 0 {
		o = append(o, chromedp.NoSandbox)
	}
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), o...)
	t.Cleanup(cancel)
	b.ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	check(t, chromedp.Listen(b.ctx, b.hear))
	_, err = chromedp.Call(b.ctx, log.Enable, cdp.Empty{})
	check(t, err)
	b.scheme("light")
	check(t, chromedp.Do(b.ctx, chromedp.EmulateViewport(1100, 800), chromedp.Navigate(b.address)))
	return b
}

// clean destroys what a session that failed has left.
func (b *browser) clean() {
	var left []struct{ Name string }
	check(b, json.Unmarshal(b.noid("ls", "--json"), &left))
	for _, v := range left {
		b.noid("destroy", "--checkpoints", v.Name)
	}
}

// serve starts the server, which ends with the test.
func (b *browser) serve() {
	cmd := exec.Command(b.bin, "serve", "--listen", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "NOID_HOME="+b.home)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	check(b, err)
	check(b, cmd.Start())
	b.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	check(b, err)
	b.address = strings.TrimSpace(line)
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// noid runs a command of noid's in the home.
func (b *browser) noid(args ...string) []byte {
	b.Helper()
	cmd := exec.Command(b.bin, args...)
	cmd.Env = append(os.Environ(), "NOID_HOME="+b.home)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		b.Errorf("noid %q: %v\n%s", args, err, errs.Bytes())
	}
	return out
}

func (b *browser) exec(vm, line string) string {
	return string(b.noid("exec", vm, "--", "sh", "-c", line))
}

// hear notes what no page should have the browser say.
func (b *browser) hear(event any) {
	switch e := event.(type) {
	case *page.EventJavascriptDialogOpening:
		b.alerts = append(b.alerts, e.Message)
		go chromedp.Call(b.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{})
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError && e.Entry.Source != log.EntrySourceNetwork {
			b.complaints = append(b.complaints, e.Entry.Text)
		}
	case *runtime.EventExceptionThrown:
		b.complaints = append(b.complaints, e.ExceptionDetails.Text+" "+e.ExceptionDetails.URL)
	}
}

// step is a part of the session. The parts after one that failed have nothing to go on from.
func (b *browser) step(name string, run func()) {
	b.Helper()
	outer := b.T
	ok := outer.Run(name, func(t *testing.T) {
		b.T = t
		run()
	})
	b.T = outer
	if !ok {
		b.shoot("failed")
		outer.FailNow()
	}
}

// until has try look until it finds something.
func (b *browser) until(what string, try func() bool) {
	b.Helper()
	for end := time.Now().Add(patience); !try(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			b.Fatalf("there is no %s. The page has:\n%v", what, b.eval(`location.hash + '\n' + document.body.innerText`))
		}
	}
}

// eval is the value of a script.
func (b *browser) eval(script string) any {
	b.Helper()
	value, err := chromedp.Run(b.ctx, chromedp.Evaluate[any](script, chromedp.EvalAwaitPromise))
	check(b, err)
	return value
}

// see waits until a script is true.
func (b *browser) see(script string) {
	b.Helper()
	b.until(script, func() bool {
		value, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](script))
		return err == nil && value
	})
}

// nodes are what a screen reader finds by role and name. A name that ends with * is the beginning of one.
func (b *browser) nodes(role, name string) (found []cdp.BackendNodeID) {
	root, err := chromedp.Call(b.ctx, dom.GetDocument, dom.GetDocumentParams{})
	if err != nil {
		return nil
	}
	all, err := chromedp.Call(b.ctx, accessibility.QueryAXTree, accessibility.QueryAXTreeParams{NodeID: root.Root.NodeID, Role: role})
	if err != nil {
		return nil // the page changes just now
	}
	for _, n := range all.Nodes {
		var text string
		if n.Name == nil || n.Ignored || json.Unmarshal(n.Name.Value, &text) != nil {
			continue
		}
		if prefix, open := strings.CutSuffix(name, "*"); text == name || open && strings.HasPrefix(text, prefix) {
			found = append(found, n.BackendDOMNodeID)
		}
	}
	return found
}

// find waits until there is something of this role and name.
func (b *browser) find(role, name string) (id cdp.BackendNodeID) {
	b.Helper()
	b.until(role+" "+name, func() bool {
		found := b.nodes(role, name)
		if len(found) == 0 {
			return false
		}
		id = found[0]
		return true
	})
	return id
}

// gone waits until there is none.
func (b *browser) gone(role, name string) {
	b.Helper()
	b.until("end of "+role+" "+name, func() bool { return len(b.nodes(role, name)) == 0 })
}

// click presses the mouse where something is.
func (b *browser) click(role, name string) {
	b.Helper()
	b.until(role+" "+name+" to click", func() bool {
		id := b.find(role, name)
		if _, err := chromedp.Call(b.ctx, dom.ScrollIntoViewIfNeeded, dom.ScrollIntoViewIfNeededParams{BackendNodeID: id}); err != nil {
			return false
		}
		at, err := chromedp.Call(b.ctx, dom.GetContentQuads, dom.GetContentQuadsParams{BackendNodeID: id})
		if err != nil || len(at.Quads) == 0 {
			return false
		}
		q := at.Quads[0]
		return chromedp.Do(b.ctx, chromedp.MouseClickXY((q[0]+q[4])/2, (q[1]+q[5])/2)) == nil
	})
}

// fill types into the field with this label, in place of what is there.
func (b *browser) fill(label, text string) {
	b.Helper()
	b.until("field "+label, func() bool {
		return b.eval(fmt.Sprintf(`(() => { const l = [...document.querySelectorAll('label')].findLast((l) => l.textContent === %q); l?.control.focus(); l?.control.select?.(); return !!l && document.activeElement === l.control; })()`, label)) == true
	})
	b.typed(text)
}

func (b *browser) typed(text string) {
	b.Helper()
	check(b, chromedp.Do(b.ctx, chromedp.KeyEvent(text)))
}

func (b *browser) press(key string) {
	b.Helper()
	b.typed(key)
}

// terminal waits until the terminal, or what is said of it, has a line with text.
func (b *browser) terminal(text string) {
	b.Helper()
	b.see(fmt.Sprintf(`document.querySelector('.terminal-box').innerText.split('\n').some((l) => l.trim() === %q)`, text))
}
