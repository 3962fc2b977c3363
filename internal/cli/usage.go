package cli

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"noid/internal/config"
	"noid/internal/errs"
	"noid/internal/untrusted"
)

// maxUsage bounds what an error repeats of a command line, in characters.
const maxUsage = 200

func usageError(text, hint string) error {
	return errs.New(errs.ErrUsage, "%s", untrusted.Line(text, maxUsage)).Hint(hint)
}

// usage turns what the parser refused into an error with the nearest match or the place to read on.
func usage(cmd *cobra.Command, err error) error {
	if hint := errs.Hint(err); hint != "" {
		return errs.Mark(err, errs.ErrUsage)
	}
	text, hint := err.Error(), fmt.Sprintf("see '%s --help'", cmd.CommandPath())
	text, _, _ = strings.Cut(text, "\n")
	if word, ok := strings.CutPrefix(text, "unknown command \""); ok {
		word, _, _ = strings.Cut(word, "\"")
		if near := nearestCommand(cmd, word); near != "" {
			hint = fmt.Sprintf("did you mean '%s %s'?", cmd.CommandPath(), near)
		}
	}
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		dashes, word := "--", unknown.GetSpecifiedName()
		if letters := unknown.GetSpecifiedShortnames(); letters != "" {
			dashes, word = "-", letters
		}
		text = "unknown flag: " + dashes + word
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		if near := config.Nearest(word, names); near != "" {
			hint = "did you mean '--" + near + "'?"
		} else if strings.Contains(cmd.Use, "[--] CMD") {
			hint = "if it is one of the command's, write -- before the command; " + hint
		}
	}
	if missing, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		text = flagName(missing.GetFlag()) + " needs a value"
	}
	if bad, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		text, hint = badValue(bad)
	}
	return usageError(text, hint)
}

// otherWords are what commands are called elsewhere.
var otherWords = map[string]string{
	"new": "create", "delete": "destroy", "remove": "destroy", "status": "list", "info": "inspect", "show": "inspect", "boot": "start",
	"unpause": "resume", "ssh": "shell", "copy": "cp", "snapshot": "checkpoint", "save": "checkpoint", "history": "log",
	"snapshots": "checkpoints", "rollback": "restore", "revert": "restore", "clone": "fork", "check": "verify", "mv": "rename",
}

func nearestCommand(cmd *cobra.Command, word string) string {
	var names []string
	for _, c := range cmd.Commands() {
		if !c.Hidden {
			names = append(names, c.Name())
		}
	}
	if other := otherWords[strings.ToLower(word)]; other != "" && !cmd.HasParent() {
		return other
	}
	return config.Nearest(word, names)
}

func flagName(f *pflag.Flag) string {
	if len(f.Name) == 1 {
		return "-" + f.Name
	}
	return "--" + f.Name
}

// badValue says in noid's words what a flag takes.
func badValue(bad *pflag.InvalidValueError) (text, hint string) {
	f := bad.GetFlag()
	text = fmt.Sprintf("%s: %q is not ", flagName(f), bad.GetValue())
	switch f.Value.Type() {
	case "duration":
		if errors.Is(bad, errNegative) {
			return flagName(f) + ": " + bad.GetValue() + " is a negative time", "write 90s, 5m or 1h30m"
		}
		return text + "a time with a unit", "write 90s, 5m or 1h30m"
	case "int":
		return text + "a whole number", ""
	case "bool":
		return text + "true or false", "write " + flagName(f) + " alone"
	}
	return flagName(f) + ": " + bad.Unwrap().Error(), ""
}

var errNegative = errors.New("a negative time")

// wait is the value of a flag that takes a time, not a negative one.
type wait time.Duration

func durationVar(f *pflag.FlagSet, p *time.Duration, name string, value time.Duration, usage string) {
	*p = value
	f.Var((*wait)(p), name, usage)
}

func (w *wait) Set(s string) error {
	d, err := time.ParseDuration(s)
	if err == nil && d < 0 {
		err = errNegative
	}
	*w = wait(d)
	return err
}

func (*wait) Type() string     { return "duration" }
func (w *wait) String() string { return time.Duration(*w).String() }

// arguments holds a command to its usage line: "exec [flags] NAME [--] CMD [ARG...]" takes two arguments or more.
func arguments(cmd *cobra.Command, args []string) error {
	var needed []string
	most, depth := 0, 0
	for _, word := range strings.Fields(cmd.Use)[1:] {
		optional := depth > 0 || strings.HasPrefix(word, "[")
		depth += strings.Count(word, "[") - strings.Count(word, "]")
		if word == "[flags]" || strings.HasPrefix(strings.TrimPrefix(word, "["), "-") {
			continue
		}
		if most++; strings.Contains(word, "...") {
			most = len(args)
		}
		if name, _, _ := strings.Cut(word, "["); !optional {
			needed = append(needed, strings.TrimSuffix(name, "..."))
		}
	}
	verb := strings.TrimPrefix(cmd.CommandPath(), "noid ")
	hint := fmt.Sprintf("write '%s', see '%s --help'", cmd.UseLine(), cmd.CommandPath())
	if missing := needed[min(len(args), len(needed)):]; len(missing) > 0 {
		if missing[0] == "ID" && len(args) == 1 {
			lister := "checkpoints"
			if takesJob(cmd) {
				lister = "ps"
			}
			hint = fmt.Sprintf("'noid %s %s' lists the ids", lister, args[0])
		}
		return usageError(fmt.Sprintf("%s: no %s given", verb, strings.Join(missing, " and no ")), hint)
	}
	if len(args) > most {
		return usageError(fmt.Sprintf("%s: unexpected argument %q", verb, args[most]), hint)
	}
	return nil
}

// refArguments is arguments for a command that takes NAME@ID for NAME ID.
func refArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		if name, ref, ok := strings.Cut(args[0], "@"); ok {
			args = append([]string{name, ref}, args[1:]...)
		}
	}
	return arguments(cmd, args)
}
