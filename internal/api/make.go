package api

import (
	"context"
	"slices"

	"noid/internal/errs"
	"noid/internal/image"
	"noid/internal/image/source"
	"noid/internal/network"
	"noid/internal/network/policy"
	"noid/internal/vm"
)

// MaxCopies bounds the clones that one call of a program makes.
const MaxCopies = 100

// CheckNet refuses to a program what opens this machine's network: that is for its user to decide, in a profile.
func CheckNet(net string) error {
	if net == string(network.Open) {
		return errs.New(errs.ErrUsage, "net: %s is not for programs", net).Hint("the user can make a profile in config.toml: noid help network")
	}
	return nil
}

// CheckRules refuses to a program rules that are none, and such as allow what CheckNet refuses.
func CheckRules(allow, deny []string) error {
	var problems []error
	for i, text := range append(slices.Clone(allow), deny...) {
		r, err := policy.ParseRule(text)
		if err == nil && i < len(allow) && r.Opens() {
			err = errs.New(errs.ErrUsage, "allow: %.100q leads into this machine's network, which is not for programs", text).Hint("the user can allow it: noid net allow NAME RULE, or a profile in config.toml")
		}
		problems = append(problems, err)
	}
	return errs.Join(problems...)
}

// CheckImage refuses to a program an image of files of this machine, which are not its to read.
func CheckImage(m *vm.Manager, ref string) error {
	if kind, _ := source.Split(ref); kind != "" && ref != m.Config.Image {
		return errs.New(errs.ErrUsage, "image: %.200q is no name of an image", ref).Hint("the user can make one of files: noid image import " + kind + ":... NAME")
	}
	return nil
}

// ObtainImage returns for a program an image of a registry, or one that is there, and the path of its base.
func ObtainImage(ctx context.Context, m *vm.Manager, verb, ref string, p *source.Progress) (*image.Image, string, error) {
	if err := CheckImage(m, ref); err != nil {
		return nil, "", err
	}
	return m.ObtainImage(ctx, verb, ref, p)
}
