package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"noid/internal/api"
	"noid/internal/untrusted"
	"noid/internal/vm"
)

func (a *app) netCmd() *cobra.Command {
	return a.group(&cobra.Command{Use: "net", Short: "See and change what a VM may reach",
		Long:    "See and change what a VM may reach. A change holds at once, and cuts connections that it forbids.\n\n" + networkHelp,
		Example: "  noid net allow dev api.github.com:443 10.1.0.0/16\n  noid net ls dev\n  noid net log dev"},
		"allow, deny, rm, ls or log", a.netAllowCmd(), a.netDenyCmd(), a.netRemoveCmd(), a.netListCmd(), a.netLogCmd())
}

// rules is a command that changes rules.
func (a *app) rules(use, short, example string, set func(rules []string) (allow, deny, remove []string)) *cobra.Command {
	return &cobra.Command{Use: use + " NAME RULE...", Short: short, Example: "  noid net " + use + " " + example,
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			allow, deny, remove := set(args[1:])
			done, err := m.SetRules(ctx, args[0], allow, deny, remove)
			a.tellRules(args[0], done)
			return err
		})}
}

// tellRules says what the VM called name reaches now, if that is much more or less than before.
func (a *app) tellRules(name string, done vm.RulesChange) {
	if a.quiet {
		return
	}
	switch {
	case done.Closed:
		fmt.Fprintf(a.err, "noid: vm %q now reaches nothing but %s; noid net allow %s '*' adds the rest of what mode %s allows\n", name, strings.Join(done.Allow, ", "), name, done.Mode)
	case done.Opened:
		fmt.Fprintf(a.err, "noid: vm %q now reaches all that mode %s allows and no rule denies\n", name, done.Mode)
	}
	if done.Cut > 0 {
		fmt.Fprintf(a.err, "noid: cut %s\n", count(done.Cut, "connection"))
	}
}

func (a *app) netAllowCmd() *cobra.Command {
	return a.rules("allow", "Let a VM reach something, and nothing else than its rules allow", "dev api.github.com:443 '*.pypi.org'",
		func(rules []string) (allow, deny, remove []string) { return rules, nil, nil })
}

func (a *app) netDenyCmd() *cobra.Command {
	return a.rules("deny", "Keep a VM from something", "dev 8.8.8.8 '*:25'",
		func(rules []string) (allow, deny, remove []string) { return nil, rules, nil })
}

func (a *app) netRemoveCmd() *cobra.Command {
	return a.rules("rm", "Take rules back", "dev 8.8.8.8", func(rules []string) (allow, deny, remove []string) { return nil, nil, rules })
}

func (a *app) netListCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "ls NAME", Aliases: []string{"list"}, Short: "List what a VM may reach", Example: "  noid net ls dev",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			n, err := m.NetworkOf(ctx, args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(a.out, api.NetworkOf(n))
			}
			rows := [][]string{{"mode", string(n.Mode)}}
			for _, rule := range n.Allow {
				rows = append(rows, []string{"allow", rule})
			}
			for _, rule := range n.Deny {
				rows = append(rows, []string{"deny", rule})
			}
			for _, port := range n.HostPorts {
				rows = append(rows, []string{"host port", strconv.Itoa(int(port))})
			}
			for _, m := range n.Networks {
				rows = append(rows, []string{"network", m.Network + ": " + m.Addr.String()})
			}
			for _, name := range n.Secrets {
				rows = append(rows, []string{"secret", name})
			}
			table(a.out, []string{"what", "value"}, rows)
			return nil
		})}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) netLogCmd() *cobra.Command {
	o := vm.LogOptions{Last: -1}
	var asJSON bool
	cmd := &cobra.Command{Use: "log NAME", Short: "Print what a VM was refused, and its uses of secrets", Example: "  noid net log -f dev",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			w := &logLines{out: a.out}
			if asJSON {
				out := untrusted.NewWriter(a.out)
				defer out.Flush()
				w = &logLines{out: out, raw: true}
			}
			return m.NetLog(ctx, args[0], o, w)
		})}
	cmd.Flags().BoolVarP(&o.Follow, "follow", "f", false, "go on as more is written, until the VM ends")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the lines as they are, each a JSON object")
	return cmd
}

// logLines prints lines of JSON as text: the time, what happened, and the rest as KEY=VALUE. With raw they stay JSON.
type logLines struct {
	out  io.Writer
	raw  bool
	rest []byte
}

func (l *logLines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		line, rest, found := strings.Cut(string(l.rest), "\n")
		if !found {
			return len(p), nil
		}
		l.rest = []byte(rest)
		var entry map[string]any
		if json.Unmarshal([]byte(line), &entry) != nil {
			continue // cut in two when the log was bounded
		}
		if l.raw {
			if _, err := io.WriteString(l.out, line+"\n"); err != nil {
				return 0, err
			}
			continue
		}
		words := []string{fmt.Sprint(entry["time"]), fmt.Sprint(entry["event"])}
		for _, key := range slices.Sorted(maps.Keys(entry)) {
			if key != "time" && key != "event" {
				words = append(words, fmt.Sprintf("%s=%v", key, entry[key]))
			}
		}
		if _, err := fmt.Fprintln(l.out, untrusted.Line(strings.Join(words, " "), 1000)); err != nil {
			return 0, err
		}
	}
}
