package page

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// audit looks at what is shown now as people do who see little, or have a phone: axe finds no fault in light and dark, and
// at a width of 360 px nothing has to be scrolled sideways.
func (b *browser) audit(view string) {
	b.Helper()
	if b.eval(`typeof axe`) != "object" {
		b.eval(b.axe + `; true`)
	}
	for _, theme := range []string{"dark", "light"} {
		b.scheme(theme)
		result := b.eval(`axe.run({ resultTypes: ['violations'] }).then((r) => JSON.stringify(r.violations.map((v) => ({ id: v.id, help: v.help, at: v.nodes.map((n) => n.html.slice(0, 200) + ' ' + (n.any[0]?.message ?? '')) }))))`)
		var faults []struct {
			ID, Help string
			At       []string
		}
		check(b, json.Unmarshal([]byte(result.(string)), &faults))
		for _, f := range faults {
			b.Errorf("%s, %s: %s: %s:\n%s", view, theme, f.ID, f.Help, strings.Join(f.At, "\n"))
		}
	}
	check(b, chromedp.Do(b.ctx, chromedp.EmulateViewport(360, 740)))
	if wide := b.eval(`document.documentElement.scrollWidth`); wide != 360.0 {
		b.Errorf("%s: at a width of 360 px it is %v px wide: %v", view, wide,
			b.eval(`[...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > 361).map((e) => e.tagName + '.' + e.className).slice(0, 8).join(' ')`))
	}
	check(b, chromedp.Do(b.ctx, chromedp.EmulateViewport(1100, 800)))
}

// scheme is what the system of the person prefers.
func (b *browser) scheme(theme string) {
	b.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
	check(b, err)
}

// maxPicture bounds a picture for the documentation, in bytes.
const maxPicture = 100 << 10

// shoot takes a picture for docs/page.md, where NOID_TEST_PICTURES says.
func (b *browser) shoot(name string) {
	b.Helper()
	dir := os.Getenv("NOID_TEST_PICTURES")
	if dir == "" {
		return
	}
	if name == "history" || name == "diff" {
		b.scheme("dark")
		defer b.scheme("light")
	}
	check(b, chromedp.Do(b.ctx, chromedp.EmulateViewport(900, 640)))
	shot, err := chromedp.Call(b.ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{})
	check(b, err)
	check(b, chromedp.Do(b.ctx, chromedp.EmulateViewport(1100, 800)))
	picture := shot.Data
	if len(picture) > maxPicture {
		b.Errorf("the picture %s has %d bytes", name, len(picture))
	}
	check(b, os.WriteFile(filepath.Join(dir, "page-"+name+".png"), picture, 0o644))
}
