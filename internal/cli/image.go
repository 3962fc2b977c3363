package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"noid/internal/api"
	"noid/internal/errs"
	"noid/internal/image/store"
	"noid/internal/vm"
)

const refsHelp = `An image is named as docker names it: python:3.13, ghcr.io/org/app:1, NAME@sha256:DIGEST. It comes from a registry, with the
credentials of docker and podman. Other places are

  oci-archive:FILE, docker-archive:FILE   what docker, podman and skopeo save
  oci:DIR                                 a directory in OCI's image layout
  docker-daemon:NAME, podman:NAME         an image that docker or podman has
  tar:FILE, dir:DIR                       a root file system, as a tar archive (.gz, .xz, .zst) or a directory
`

func (a *app) imageCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "image", Short: "Get, list and remove images", Args: cobra.ArbitraryArgs,
		Long:    "Get, list and remove images. Each becomes one read-only ext4, the base of any number of VMs.\n\n" + refsHelp,
		Example: "  noid image pull python:3.13\n  noid image ls",
		RunE: func(cmd *cobra.Command, args []string) error {
			a.started = false
			if len(args) > 0 {
				return fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
			}
			return usageError("pull, ls, inspect, rm, prune, import or save?", "see 'noid image --help'")
		}}
	cmd.AddCommand(a.imagePullCmd(), a.imageLsCmd(), a.imageInspectCmd(), a.imageRmCmd(), a.imagePruneCmd(), a.imageImportCmd(), a.imageSaveCmd())
	return cmd
}

func (a *app) imageLsCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List the images", Example: "  noid image ls\n  noid image rm $(noid image ls -q)",
		Long: "List the images, the newest first. size is what an image's file system would take in full.\n",
		RunE: a.verb(func(_ context.Context, m *vm.Manager, _ []string) error {
			images, err := m.Images().List()
			docs, rows := []api.Image{}, [][]string{}
			for _, i := range images {
				docs = append(docs, api.ImageOf(i))
				names := i.Refs
				if a.quiet || len(names) == 0 {
					names = []string{"-"}
				}
				for _, name := range names {
					rows = append(rows, []string{name, imageID(i.Digest), size(i.Size), local(i.Built)})
				}
			}
			switch {
			case asJSON:
				return errs.Join(err, printJSON(a.out, docs))
			case a.quiet:
				for _, row := range rows {
					fmt.Fprintln(a.out, row[1])
				}
			default:
				table(a.out, []string{"image", "id", "size", "built"}, rows)
			}
			return err
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	a.quietColumn(cmd, "ids")
	return cmd
}

// imageID is the beginning of an image's digest, as docker shows it.
func imageID(digest string) string {
	_, hex, _ := strings.Cut(digest, ":")
	return hex[:min(12, len(hex))]
}

func (a *app) imageInspectCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "inspect IMAGE", Short: "Print all that is known of an image, as JSON", Example: "  noid image inspect python:3.13",
		RunE: a.verb(func(_ context.Context, m *vm.Manager, args []string) error {
			img, err := m.Images().Find(args[0])
			if err != nil {
				return err
			}
			return printJSON(a.out, api.ImageOf(img))
		}),
	}
	cmd.Flags().Bool("json", true, "print JSON, the only form")
	return cmd
}

func (a *app) imageRmCmd() *cobra.Command {
	return &cobra.Command{
		Use: "rm IMAGE...", Short: "Remove images",
		Long: `Remove the names of images, and each image with its last name, together with the layers that no other image needs. An ID
removes an image with all its names. VMs that were made of it, and their checkpoints, stay.
`,
		Example: "  noid image rm python:3.13",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			return m.ChangeImages(ctx, "image rm", func(s *store.Store) error {
				if err := checkAll(args, s.Check); err != nil {
					return err
				}
				var problems []error
				for _, ref := range unique(args) {
					problems = append(problems, s.Remove(ctx, ref))
				}
				return errs.Join(problems...)
			})
		}),
	}
}

// prunedJSON is 'image prune --json'.
type prunedJSON struct {
	Images     []string `json:"images"`
	Layers     int      `json:"layers"`
	FreedBytes int64    `json:"freed_bytes"`
}

func (a *app) imagePruneCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "prune", Short: "Remove images without a name, and layers that no image needs",
		Long: `Remove images without a name: those whose name a newer image has got. Remove the layers that no image needs, and what was
downloaded of images that were never finished. VMs stay.
`,
		Example: "  noid image prune",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, _ []string) error {
			return m.ChangeImages(ctx, "image prune", func(s *store.Store) error {
				p, err := s.Prune(ctx)
				if asJSON {
					return errs.Join(err, printJSON(a.out, prunedJSON{append([]string{}, p.Images...), p.Layers, p.Bytes}))
				}
				if err == nil && !a.quiet {
					fmt.Fprintf(a.err, "freed %s: %s, %s\n", size(p.Bytes), count(len(p.Images), "image"), count(p.Layers, "layer"))
				}
				return err
			})
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
