package cli

import (
	"strconv"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/rogpeppe/go-internal/testscript"

	"noid/internal/image/imagetest"
)

// scriptRegistries are the registries by their script's directory.
var scriptRegistries sync.Map

// scriptRegistry is the registry of a script, which ends with the tests:
//
//	registry start            it serves at $REGISTRY
//	registry push REF TEXT... REF is an image of layers, each with one file of that text
//	registry push-other REF   REF is an image for another platform
//	registry fault KIND [N]   basic, bearer: it wants a log-in; redirect; tamper; break N: hang up after N bytes;
//	                          busy N: answer N times that there are too many requests; none
//	registry login            the user logs in
func scriptRegistry(t *testing.T) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) == 0 {
			ts.Fatalf("usage: registry start|push|push-other|fault|login [ARG...]")
		}
		if args[0] == "start" {
			r := imagetest.Serve(t)
			ts.Setenv("REGISTRY", r.Host)
			scriptRegistries.Store(ts.Getenv("WORK"), r)
			return
		}
		found, _ := scriptRegistries.Load(ts.Getenv("WORK"))
		r := found.(*imagetest.Registry)
		switch args[0] {
		case "push":
			var layers [][]byte
			for i, text := range args[2:] {
				layers = append(layers, imagetest.Tar(t, map[string]string{"file" + strconv.Itoa(i): strings.Repeat(text, 1000)}))
			}
			r.Push(t, args[1], imagetest.Image(t, layers...))
		case "push-other":
			img := imagetest.For(t, imagetest.Image(t, imagetest.Tar(t, nil)), "riscv64")
			r.Push(t, args[1], mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "riscv64"}}}))
		case "login":
			ts.Setenv("DOCKER_CONFIG", r.LogIn(t))
		case "fault":
			n := int64(0)
			if len(args) > 2 {
				n, _ = strconv.ParseInt(args[2], 10, 64)
			}
			r.Basic, r.Bearer, r.Redirect = args[1] == "basic", args[1] == "bearer", args[1] == "redirect"
			r.Tamper.Store(args[1] == "tamper")
			r.Break.Store(0)
			r.Busy.Store(0)
			switch args[1] {
			case "break":
				r.Break.Store(n)
			case "busy":
				r.Busy.Store(n)
			}
		}
	}
}
