package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"noid/internal/api"
	"noid/internal/errs"
	"noid/internal/image"
	"noid/internal/image/source"
	"noid/internal/image/store"
	"noid/internal/vm"
)

// getImages has get get images, shows how far it is, and prints what it returns.
func (a *app) getImages(ctx context.Context, m *vm.Manager, verb string, insecure, asJSON bool, get func(*store.Store) ([]image.Image, error)) error {
	return m.ChangeImages(ctx, verb, func(s *store.Store) error {
		s.Options.Insecure = insecure
		s.Options.Progress = &source.Progress{}
		stop := a.showDownload(s.Options.Progress)
		images, err := get(s)
		stop()
		if asJSON {
			docs := []api.Image{}
			for _, i := range images {
				docs = append(docs, api.ImageOf(i))
			}
			return errs.Join(err, printJSON(a.out, docs))
		}
		for _, i := range images {
			fmt.Fprintln(a.out, i.Digest)
		}
		return err
	})
}

func (a *app) imagePullCmd() *cobra.Command {
	var insecure, asJSON bool
	cmd := &cobra.Command{
		Use: "pull IMAGE...", Short: "Get images from where they are, whatever is there already",
		Long: "Get images from where they are, whatever is there already, and print their digests.\n\n" + refsHelp + `
Layers that were downloaded before are not downloaded again. After a break or Ctrl+C, the next pull goes on where this one was.
`,
		Example: "  noid image pull python:3.13\n  noid image pull oci-archive:app.tar",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			return a.getImages(ctx, m, "image pull", insecure, asJSON, func(s *store.Store) (got []image.Image, err error) {
				for _, ref := range unique(args) {
					img, err := s.Import(ctx, ref, ref)
					if err != nil {
						return got, err
					}
					got = append(got, img)
				}
				return got, nil
			})
		}),
	}
	cmd.Flags().BoolVar(&insecure, "insecure", false, "allow plain HTTP and unknown certificates")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) imageImportCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "import SOURCE NEW", Short: "Make an image of a file or directory, and name it",
		Long:    "Make an image of a file or directory, or of another image, name it and print its digest.\n\n" + refsHelp,
		Example: "  noid image import tar:rootfs.tar.xz mine:1\n  noid image import docker-daemon:app:latest app:1",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			if err := checkSource(args[0]); err != nil {
				return err
			}
			return a.getImages(ctx, m, "image import", false, asJSON, func(s *store.Store) ([]image.Image, error) {
				img, err := s.Import(ctx, args[0], args[1])
				if err != nil {
					return nil, err
				}
				return []image.Image{img}, nil
			})
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// checkSource refuses a path without the word that says what is there.
func checkSource(ref string) error {
	kind, path := source.Split(ref)
	info, err := os.Stat(path)
	if kind != "" || err != nil {
		return nil
	}
	kind = "tar"
	if info.IsDir() {
		kind = "dir"
		if _, err := os.Stat(filepath.Join(path, "index.json")); err == nil {
			kind = "oci"
		}
	}
	return usageError(fmt.Sprintf("%q is a file or directory, not the name of an image", ref), fmt.Sprintf("write %s:%s; see 'noid image import --help'", kind, ref))
}
