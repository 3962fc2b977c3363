package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"noid/internal/setup"
	"noid/internal/untrusted"
	"noid/internal/version"
	"noid/internal/vm"
	"noid/internal/vmm/drivers"
)

// selftestJSON is what selftest --json prints. No path, address or name of the user's is in it.
type selftestJSON struct {
	Noid    map[string]any `json:"noid"`
	Host    any            `json:"host"`
	KVM     string         `json:"kvm"`
	Storage struct {
		Kind       string `json:"kind"` // "plain" or "btrfs": a volume in the home
		FileSystem string `json:"file_system"`
		Reflinks   bool   `json:"reflinks"`
	} `json:"storage"`
	Driver struct {
		Name    string `json:"name"`
		Version string `json:"version"`
	} `json:"driver"`
	Guest struct {
		Kernel string `json:"kernel,omitempty"`
		Image  bool   `json:"image"` // its disk is of an image
	} `json:"guest"`
	Held       bool        `json:"held"` // all that could be tested
	DowntimeMs float64     `json:"downtime_ms,omitempty"`
	Proofs     []proofJSON `json:"proofs"`
	Error      string      `json:"error,omitempty"` // why the test did not come to its end
}

type proofJSON struct {
	Proof  string `json:"proof"`
	Result string `json:"result"` // held, failed, not tested
	Detail string `json:"detail"`
}

func (a *app) selftestCmd() *cobra.Command {
	var o vm.CreateOptions
	var ref string
	var wait time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use: "selftest", Short: "Prove on this host what noid promises of clones and restores",
		Long: `Prove on this host what noid promises of clones and restores. A VM that nobody sees gets a checkpoint, three clones, and is
put back: their memory and disks have the same bytes, and clocks, random numbers, identities, disks, networks and secrets are
apart. Nothing is left of them, also when noid is killed: the next command that changes something sees to that. Their guests
reach no network.

The VM is of what 'noid create' would take. Its guest needs noid's agent, and a shell with cat, date and head. What the test
prints has no path, address or name of yours in it: put it into a bug report.
`,
		Annotations: map[string]string{ExitStatus: "  0 when all held that could be tested, 1 when something did not."},
		Example:     "  noid selftest\n  noid selftest --image python:3.13 --json",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, _ []string) (err error) {
			if o.Driver, err = driverWish(m.Drivers, o.Driver); err != nil {
				return err
			}
			if ref == "" && o.Rootfs == "" {
				ref = m.Config.Image
			}
			if ref != "" {
				if o.Image, o.Base, err = a.obtainImage(ctx, m, ref); err != nil {
					return err
				}
			}
			return a.selftest(ctx, m, o, wait, asJSON)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&ref, "image", "", "image, such as debian:12, which is pulled if it is not there (default: config)")
	f.StringVar(&o.Kernel, "kernel", "", "kernel: an ELF vmlinux, a bzImage, or a name of 'kernel ls' (default: config)")
	f.StringVar(&o.Rootfs, "rootfs", "", "root file system: an ext4 image, which is copied (default: config)")
	f.StringVar(&o.Driver, "driver", "", strings.Join(drivers.Names(), " or ")+" (default: NOID_DRIVER, then config, then the best that works here)")
	durationVar(f, &wait, "wait-timeout", createWait, "how long to wait for the guest to be up")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// selftest tests, and prints what it finds.
func (a *app) selftest(ctx context.Context, m *vm.Manager, o vm.CreateOptions, wait time.Duration, asJSON bool) error {
	t, err := m.SelfTest(ctx, o, wait, func(what string) { a.say("%s", what) })
	driver, driverErr := m.ChooseDriver(ctx, o.Driver)
	if ctx.Err() != nil || t.Driver == "" && driverErr != nil {
		return err
	}
	if t.Driver == "" {
		t.Driver = driver
	}
	report := setup.Examine(ctx, a.setupOptions(m), driver)
	j := selftestToJSON(t, report)
	public := func(text string) string { return strings.ReplaceAll(text, m.Home.Dir(), "$NOID_HOME") }
	for i := range j.Proofs {
		j.Proofs[i].Detail = public(j.Proofs[i].Detail)
	}
	j.Held = err == nil && !slices.ContainsFunc(t.Proofs, func(p vm.Proof) bool { return p.Failed })
	if err != nil {
		j.Error = public(untrusted.Text([]byte(err.Error())))
	}
	if asJSON {
		if printErr := printJSON(a.out, j); err == nil {
			err = printErr
		}
	} else {
		a.printSelftest(j, report)
	}
	if err == nil && !j.Held {
		err = codeError{exitFailed}
	}
	return err
}

func selftestToJSON(t vm.SelfTest, r setup.Report) selftestJSON {
	j := selftestJSON{Noid: versionInfo(), Host: r.Host, KVM: r.KVM, DowntimeMs: t.DowntimeMs, Proofs: []proofJSON{}}
	j.Storage.Kind, j.Storage.FileSystem, j.Storage.Reflinks = r.Home.Storage, r.Home.FileSystem, r.Home.Reflinks
	j.Driver.Name, j.Driver.Version = t.Driver, t.DriverVersion
	if j.Driver.Version == "" {
		j.Driver.Version = r.VMMs[t.Driver]
	}
	j.Guest.Kernel, j.Guest.Image = untrusted.Line(t.GuestKernel, 100), t.Image
	for _, p := range t.Proofs {
		result := "held"
		if p.Failed {
			result = "failed"
		} else if p.Untested != "" {
			result = "not tested"
		}
		j.Proofs = append(j.Proofs, proofJSON{p.Name, result, p.Detail})
	}
	return j
}

// printSelftest prints what a bug report begins with, and the table if the test came to its end.
func (a *app) printSelftest(j selftestJSON, r setup.Report) {
	of, reflinks := "a root file system", "no reflinks"
	if j.Guest.Image {
		of = "an image"
	}
	if j.Storage.Reflinks {
		reflinks = "reflinks"
	}
	fmt.Fprintf(a.out, "noid %s %s %s\n", version.Release, r.Host.Arch, j.Noid["revision"])
	fmt.Fprintf(a.out, "host: %s, kernel %s, KVM: %s\n", r.Host.Distribution, r.Host.Kernel, r.KVM)
	fmt.Fprintf(a.out, "storage: %s on %s, %s\n", j.Storage.Kind, j.Storage.FileSystem, reflinks)
	fmt.Fprintf(a.out, "driver: %s %s\nguest: of %s, kernel %s\n", j.Driver.Name, j.Driver.Version, of, j.Guest.Kernel)
	if j.Error != "" {
		return
	}
	var rows [][]string
	for _, p := range j.Proofs {
		rows = append(rows, []string{p.Proof, p.Result, p.Detail})
	}
	table(a.out, []string{"proof", "result", "what was seen"}, rows)
}
