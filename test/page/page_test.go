// Package page has a person use noid's page: headless Chromium, a real 'noid serve' and real guests.
package page

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"
)

// hostileName is a file's name that a guest makes to do something to whoever looks at it, as its shell's printf takes it:
// with an escape sequence, and what turns the direction of writing.
const hostileName = `<img src=x onerror=alert(1)><script>alert(2)<script>\033[31m\342\200\256`

// TestPage is a session: each step goes on where the one before has left the browser.
func TestPage(t *testing.T) {
	b := open(t)
	b.step("token", func() {
		b.see(`location.hash === '#/'`)
		b.see(`sessionStorage.getItem('noid.token').length >= 32`)
		b.find("heading", "VMs")
		b.see(`document.body.innerText.includes('No VM yet')`)
		b.audit("empty")
	})
	b.step("create", func() {
		b.click("button", "New VM")
		b.audit("create")
		b.fill("Name", "dev")
		b.fill("Memory, MiB", "128")
		b.press(kb.Enter)
		b.find("heading", "dev running")
	})
	b.step("shell", func() {
		b.click("link", "Shell")
		b.terminal("connected")
		b.typed("cd /root; echo first > notes; echo 'hel''lo'; stty size\r")
		b.terminal("hello")
		b.audit("shell")
		b.shoot("shell")
	})
	b.step("checkpoint", func() {
		b.press(kb.F6)
		b.click("button", "Checkpoint …")
		b.fill("Label", "all is well")
		b.press(kb.Enter)
		b.click("link", "History")
		b.find("button", "all is well*")
	})
	b.step("break and diff", func() {
		b.click("link", "Shell")
		b.terminal("connected")
		b.typed("cd /root; echo second > notes; echo new > /root/fresh; rm /etc/group; touch \"$(printf '" + hostileName + "')\"; echo do''ne\r")
		b.terminal("done")
		b.press(kb.F6)
		b.click("link", "History")
		b.click("button", "all is well*")
		b.click("menuitem", "What changed since then")
		b.find("heading", "Changed: *")
		b.see(`[...document.querySelectorAll('ins')].some((e) => e.innerText.trim() === '+ second')`)
		b.see(`[...document.querySelectorAll('del')].some((e) => e.innerText.trim() === '− first')`)
		b.see(`[...document.querySelectorAll('code')].some((e) => e.textContent.includes('<img src=x onerror=alert(1)><script>alert(2)<script>␛[31m<U+202E>'))`)
		b.see(`document.querySelectorAll('main img, main script').length === 0`)
		b.audit("diff")
		b.shoot("diff")
	})
	b.step("restore by the graph, with the keyboard", func() {
		b.click("link", "History")
		b.find("button", "all is well*")
		b.see(`document.activeElement.tagName === 'H1' || document.activeElement.tagName === 'A'`)
		for range 30 { // as a person does who knows only Tab
			if b.eval(`document.activeElement.classList.contains('node')`) == true {
				break
			}
			b.press(kb.Tab)
		}
		b.see(`document.activeElement.innerText.startsWith('now')`)
		b.press(kb.ArrowLeft) // to where it came from
		b.see(`document.activeElement.innerText.startsWith('all is well')`)
		b.press(kb.Enter)
		b.see(`document.activeElement.innerText === 'Restore …'`)
		b.audit("menu")
		b.press(kb.Escape)
		b.see(`document.activeElement.innerText.startsWith('all is well')`)
		b.press(kb.Enter)
		b.press(kb.Enter)
		b.find("heading", "Restore dev?")
		b.press(kb.Tab) // Cancel has the focus, the dangerous button is after it
		b.press(kb.Enter)
		b.find("button", "before restore to *")
		if got := b.exec("dev", "cat /root/notes"); got != "first\n" {
			t.Errorf("notes have %q", got)
		}
		b.audit("history")
	})
	b.step("explore and keep", func() {
		b.click("link", "Explore")
		b.fill("Commands, one a line", "echo one > /root/made\necho three > /root/made\nfalse")
		b.fill("Score", "wc -c < /root/made")
		b.click("button", "Run them")
		b.find("button", "Keep variant 2")
		b.see(`document.querySelector('tbody').innerText.includes('✗ exit 1')`)
		b.audit("explore")
		b.eval(`document.querySelector('form .actions').scrollIntoView()`)
		b.shoot("explore")
		b.click("button", "Keep variant 2")
		b.click("button", "Keep")
		b.see(`location.hash === '#/vm/dev/history'`)
		if got := b.exec("dev", "cat /root/made"); got != "three\n" {
			t.Errorf("the kept variant has made %q", got)
		}
	})
	b.step("pin, fork, undo, forget", func() {
		b.click("button", "all is well*")
		b.click("menuitem", "Pin")
		b.find("button", "pinned: all is well*")
		b.click("button", "now*")
		b.click("menuitem", "Copies of it (fork) …")
		b.fill("How many", "1")
		b.press(kb.Enter)
		b.see(`document.getElementById('say').innerText.includes('dev-1')`)
		b.exec("dev", "touch /root/slip")
		b.typed("u")
		b.see(`document.getElementById('say').innerText.includes('dev is as at')`)
		if got := b.exec("dev", "ls /root"); strings.Contains(got, "slip") || !strings.Contains(got, "made") {
			t.Errorf("after the undo there is %q", got)
		}
		b.shoot("history")
		points := b.eval(`document.querySelectorAll('.node').length`).(float64)
		b.click("button", "before an undo*")
		b.click("menuitem", "Forget …")
		b.click("button", "Forget")
		b.see(fmt.Sprintf(`document.querySelectorAll('.node').length === %v`, points-1))
	})
	b.step("what others do shows", func() {
		b.typed("v")
		b.find("heading", "VMs")
		b.audit("vms")
		b.noid("pause", "dev-1")
		b.find("button", "Resume dev-1")
		b.click("button", "Resume dev-1")
		b.find("button", "Pause dev-1")
	})
	b.step("console", func() {
		b.click("link", "dev")
		b.click("link", "Console")
		b.terminal("connected")
		b.audit("console")
		b.press(kb.F6)
	})
	b.step("disk", func() {
		b.click("link", "Disk")
		b.find("heading", "Disk")
		b.see(`document.querySelector('table.disk').innerText.includes('dev-1')`)
		b.audit("disk")
	})
	b.step("help", func() {
		b.typed("?")
		b.find("heading", "Keys")
		b.audit("help")
		b.press(kb.Escape)
		b.see(`!document.querySelector('dialog')`)
	})
	b.step("destroy", func() {
		b.click("link", "VMs")
		b.click("button", "Destroy dev-1")
		b.find("heading", "Destroy dev-1?")
		b.press(kb.Enter) // Cancel has the focus
		b.see(`!document.querySelector('dialog')`)
		b.find("link", "dev-1")
		for _, name := range []string{"dev-1", "dev"} {
			b.click("button", "Destroy "+name)
			b.find("heading", "Destroy "+name+"?")
			b.click("button", "Destroy")
			b.gone("link", name)
		}
		if left := b.noid("ls", "--json"); !bytes.HasPrefix(left, []byte("[]")) {
			t.Errorf("VMs are left: %s", left)
		}
	})
	b.step("no token", func() {
		b.eval(`sessionStorage.clear(); location.reload()`)
		b.find("heading", "The token of this server")
		b.fill("Token, or that address", b.address)
		b.press(kb.Enter)
		b.find("heading", "VMs")
	})
	if len(b.alerts) > 0 {
		t.Errorf("dialogs that a guest opened: %q", b.alerts)
	}
	if len(b.complaints) > 0 {
		t.Errorf("the browser complains:\n%s", strings.Join(b.complaints, "\n"))
	}
}

func environment(t *testing.T, key string) string {
	value := os.Getenv(key)
	if value == "" {
		t.Fatalf("%s is not set: run scripts/test-page.sh", key)
	}
	return value
}
