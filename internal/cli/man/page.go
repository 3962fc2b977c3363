package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"noid/internal/cli"
	"noid/internal/version"
)

// page is the manual page of cmd in the macros of man(7).
func page(cmd *cobra.Command, date string) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s 1 %s \"noid %s\" \"noid manual\"\n", strings.ToUpper(name(cmd)), date, version.Release)
	section := func(title, body string) {
		if body != "" {
			fmt.Fprintf(&b, ".SH %s\n%s", title, body)
		}
	}
	section("NAME", escape(name(cmd))+" \\- "+escape(cmd.Short)+"\n")
	usage := cmd.UseLine()
	if cmd.HasAvailableSubCommands() {
		usage = cmd.CommandPath() + " COMMAND"
	}
	section("SYNOPSIS", ".nf\n"+escape(usage)+"\n.fi\n")
	section("DESCRIPTION", prose(cmp.Or(cmd.Long, cmd.Short+".")))
	if len(cmd.Aliases) > 0 {
		section("ALSO CALLED", prose(strings.Join(cmd.Aliases, ", ")))
	}
	section("COMMANDS", commands(cmd))
	section("OPTIONS", options(cmd.NonInheritedFlags()))
	section("GLOBAL OPTIONS", options(cmd.InheritedFlags()))
	section("EXAMPLES", prose(cmd.Example))
	if !cmd.HasParent() {
		section("EXIT STATUS", prose(topic(cmd, "exit-codes")))
		section("ENVIRONMENT", prose(topic(cmd, "environment")))
	} else {
		section("EXIT STATUS", prose(cmp.Or(cmd.Annotations[cli.ExitStatus], "See noid(1).")))
	}
	section("SEE ALSO", seeAlso(cmd))
	return b.String()
}

// topic is the text of a help topic.
func topic(root *cobra.Command, name string) string {
	for _, c := range root.Commands() {
		if c.Name() == name {
			return c.Long
		}
	}
	return ""
}

// commands lists those below cmd, in their groups.
func commands(cmd *cobra.Command) string {
	var b strings.Builder
	for _, g := range append(cmd.Groups(), &cobra.Group{}) {
		if g.Title != "" {
			fmt.Fprintf(&b, ".SS %s\n", escape(g.Title))
		}
		for _, c := range cmd.Commands() {
			if c.GroupID == g.ID && c.IsAvailableCommand() {
				fmt.Fprintf(&b, ".TP\n%s\n%s\n", reference(c), escape(c.Short))
			}
		}
	}
	return b.String()
}

func options(flags *pflag.FlagSet) string {
	var b strings.Builder
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		b.WriteString(".TP\n")
		if f.Shorthand != "" {
			fmt.Fprintf(&b, "\\fB\\-%s\\fR, ", escape(f.Shorthand))
		}
		fmt.Fprintf(&b, "\\fB\\-\\-%s\\fR", escape(f.Name))
		if value != "" {
			fmt.Fprintf(&b, " \\fI%s\\fR", escape(value))
		}
		b.WriteString("\n" + escape(usage))
		if !slices.Contains([]string{"", "0", "0s", "false", "[]"}, f.DefValue) {
			b.WriteString(escape(" (default " + f.DefValue + ")"))
		}
		b.WriteString("\n")
	})
	return b.String()
}

func seeAlso(cmd *cobra.Command) string {
	var names []string
	if cmd.HasParent() {
		names = append(names, reference(cmd.Parent()))
	}
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, reference(c))
		}
	}
	return strings.Join(names, ",\n") + "\n"
}

// prose makes paragraphs of text. Lines that are indented stay as they are.
func prose(text string) string {
	var b strings.Builder
	asIs, between := false, false
	for line := range strings.Lines(strings.TrimRight(text, "\n")) {
		line = strings.TrimRight(line, "\n")
		if line == "" {
			between = true
			continue
		}
		if indented := strings.HasPrefix(line, "  "); indented != asIs {
			if asIs = indented; !asIs {
				b.WriteString(".RE\n.fi\n.PP\n")
			} else if b.Len() > 0 {
				b.WriteString(".PP\n.nf\n.RS 2\n")
			} else {
				b.WriteString(".nf\n.RS 2\n")
			}
		} else if between {
			b.WriteString(map[bool]string{true: "\n", false: ".PP\n"}[asIs])
		}
		between = false
		if asIs {
			line = line[2:]
		}
		b.WriteString(escape(line) + "\n")
	}
	if asIs {
		b.WriteString(".RE\n.fi\n")
	}
	return b.String()
}

// escape keeps roff from reading commands in a line of text, and from making other characters of some.
func escape(line string) string {
	line = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`).Replace(line)
	if strings.HasPrefix(line, ".") {
		line = `\&` + line
	}
	return line
}
