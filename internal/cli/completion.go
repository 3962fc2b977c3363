package cli

import (
	_ "embed"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"noid/internal/config"
	"noid/internal/untrusted"
	"noid/internal/vm"
	"noid/internal/vmm/drivers"
)

// These are not cobra's: those evaluate what is typed, $(…) too. And the one for bash needs the package bash-completion,
// and takes NAME@ID for two words.
var (
	//go:embed completion.bash
	bashScript string
	//go:embed completion.zsh
	zshScript string
	//go:embed completion.fish
	fishScript string
)

func (a *app) completionCmd() *cobra.Command {
	return &cobra.Command{
		Use: "completion SHELL", Short: "Print a completion script for bash, zsh, fish or powershell",
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"}, Example: "  noid completion bash >/etc/bash_completion.d/noid\n  source <(noid completion bash)",
		RunE: func(cmd *cobra.Command, args []string) error {
			switch root := cmd.Root(); args[0] {
			case "bash", "zsh", "fish":
				_, err := io.WriteString(a.out, map[string]string{"bash": bashScript, "zsh": zshScript, "fish": fishScript}[args[0]])
				return err
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(a.out)
			}
			return usageError(fmt.Sprintf("no completion for %q", args[0]), "choose bash, zsh, fish or powershell")
		},
	}
}

// addCompletion has cmd and all commands below it complete what the words of their Use stand for, and the values of
// flags.
func addCompletion(cmd *cobra.Command) {
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		switch f.Name {
		case "kernel":
			cmd.RegisterFlagCompletionFunc(f.Name, completeKernel)
		case "image":
			cmd.RegisterFlagCompletionFunc(f.Name, completeImage)
		case "rootfs", "modules", "config", "output": // files
		case "driver":
			cmd.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions(drivers.Names(), cobra.ShellCompDirectiveNoFileComp))
		case "net":
			cmd.RegisterFlagCompletionFunc(f.Name, completeNet)
		case "network":
			cmd.RegisterFlagCompletionFunc(f.Name, completeLab)
		case "format":
			cmd.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions([]string{"oci", "docker"}, cobra.ShellCompDirectiveNoFileComp))
		default:
			cmd.RegisterFlagCompletionFunc(f.Name, cobra.NoFileCompletions)
		}
	})
	if cmd.HasParent() && cmd.ValidArgs == nil {
		cmd.ValidArgsFunction = complete
	}
	for _, sub := range cmd.Commands() {
		addCompletion(sub)
	}
}

// operand is the word of cmd's Use that argument n stands for, "NAME" for each of "[NAME...]", and "" for none.
func operand(cmd *cobra.Command, n int) string {
	words := slices.DeleteFunc(strings.Fields(cmd.Use)[1:], func(w string) bool { return strings.HasPrefix(w, "[-") || w == "[flags]" })
	if last := len(words) - 1; n > last && last >= 0 && strings.HasSuffix(strings.Trim(words[last], "[]"), "...") {
		n = last
	}
	if n >= len(words) {
		return ""
	}
	return strings.Trim(words[n], "[].")
}

// complete completes the word begun, which follows args. It asks no guest and is quick.
func complete(cmd *cobra.Command, args []string, begun string) (list []string, directive cobra.ShellCompDirective) {
	directive = cobra.ShellCompDirectiveNoFileComp
	switch what := operand(cmd, len(args)); {
	case what == "NAME" && cmd.Name() == "create": // a new one
	case strings.HasPrefix(what, "NAME") || what == "OLD":
		list = completeName(cmd, args, begun)
	case what == "ID" && !takesJob(cmd): // of a job the guest would have to be asked
		list = completeCheckpoint(cmd, args[0], "")
	case what == "IMAGE|NAME@ID":
		if list = completeName(cmd, args, begun); !strings.Contains(begun, "@") {
			for i := range list {
				list[i] += "@"
			}
			return append(list, vm.ImageNames()...), directive | cobra.ShellCompDirectiveNoSpace
		}
	case what == "IMAGE" && cmd.Name() != "pull":
		list = vm.ImageNames()
	case what == "NETWORK" && cmd.Name() != "create":
		list = slices.DeleteFunc(vm.Labs(), func(name string) bool { return slices.Contains(args, name) })
	case what == "SOURCE":
		return nil, cobra.ShellCompDirectiveDefault // a file, mostly
	case what == "KEY":
		for _, key := range config.Keys() {
			list = append(list, key+"\t"+config.About(key))
		}
	case what == "KERNEL":
		list = vm.Kernels()
	case strings.HasPrefix(what, "FILE|"): // words beside files
		return strings.Split(what, "|")[1:], cobra.ShellCompDirectiveDefault
	case what == "VALUE":
		return completeValue(args[0])
	case what == "COMMAND":
		for _, c := range cmd.Root().Commands() {
			if c.IsAvailableCommand() || c.IsAdditionalHelpTopicCommand() {
				list = append(list, c.Name()+"\t"+c.Short)
			}
		}
	case what == "SRC" || what == "DST":
		return completePlace(begun)
	}
	return list, directive
}

// completeImage completes the name of an image that is here.
func completeImage(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return vm.ImageNames(), cobra.ShellCompDirectiveNoFileComp
}

// completeNet completes the modes of networks and the profiles of the configuration.
func completeNet(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return vm.NetworkNames(), cobra.ShellCompDirectiveNoFileComp
}

// completeLab completes the name of a network between VMs.
func completeLab(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return vm.Labs(), cobra.ShellCompDirectiveNoFileComp
}

// takesJob reports whether cmd's ID is a job's, not a checkpoint's.
func takesJob(cmd *cobra.Command) bool { return cmd.Name() == "kill" || cmd.Name() == "attach" }

// completeName completes the name of a VM, or NAME@ID where the verb takes a checkpoint.
func completeName(cmd *cobra.Command, args []string, begun string) []string {
	takesID := strings.Contains(cmd.Use, "ID") && !takesJob(cmd)
	if name, _, found := strings.Cut(begun, "@"); found && takesID {
		return completeCheckpoint(cmd, name, name+"@")
	}
	names := vm.Names(takesID || cmd.Name() == "checkpoints" || cmd.Name() == "du")
	return slices.DeleteFunc(names, func(name string) bool { return slices.Contains(args, name) })
}

// completeCheckpoint lists the ids of the checkpoints of name, and the labels that a shell need not quote.
func completeCheckpoint(cmd *cobra.Command, name, prefix string) (list []string) {
	kept := vm.Kept(cmd.Context(), name)
	times := map[string]int{}
	for _, c := range kept {
		times[c.Label]++
	}
	for _, c := range kept {
		list = append(list, prefix+c.ID+"\t"+untrusted.Line(strings.TrimSpace(local(c.CreatedAt)+" "+c.Label), maxCell))
		quoted := strings.ContainsFunc(c.Label, func(r rune) bool {
			return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_.,+-/", r)
		})
		if c.Label != "" && !quoted && times[c.Label] == 1 {
			list = append(list, prefix+c.Label+"\t"+c.ID)
		}
	}
	return list
}

// completeValue completes a value of the configuration's key.
func completeValue(key string) ([]string, cobra.ShellCompDirective) {
	switch key {
	case "kernel":
		return completeKernel(nil, nil, "")
	case "boot_args", "cpus", "mem", "registry_mirror":
		return nil, cobra.ShellCompDirectiveNoFileComp
	case "driver":
		return drivers.Names(), cobra.ShellCompDirectiveNoFileComp
	case "net":
		return completeNet(nil, nil, "")
	case "storage":
		return []string{"plain", "btrfs"}, cobra.ShellCompDirectiveNoFileComp
	case "warm":
		return []string{"on", "off"}, cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveDefault // a path
}

// completeKernel completes the name of a kernel, or else a file.
func completeKernel(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return vm.Kernels(), cobra.ShellCompDirectiveDefault
}

// completePlace completes the VM of NAME:/path, or else a file of this machine.
func completePlace(begun string) (list []string, directive cobra.ShellCompDirective) {
	for _, name := range vm.Names(false) {
		if strings.HasPrefix(begun, name+":") {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		list = append(list, name+":")
	}
	return list, cobra.ShellCompDirectiveNoSpace
}
