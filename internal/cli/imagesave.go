package cli

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"noid/internal/image/store"
	"noid/internal/vm"
)

func (a *app) imageSaveCmd() *cobra.Command {
	var path, format string
	cmd := &cobra.Command{
		Use: "save IMAGE...", Short: "Write images into an archive",
		Long: `Write images into one archive, in OCI's image layout or, with --format docker, as 'docker save' did: to standard output, or with
-o into a file, which is complete or not there. Manifests, configurations and layers are what they were, byte by byte: an image
has the same digest where it is loaded. One that noid made of a directory or of a root file system's tar gets a manifest, and
with it another digest.
`,
		Example: "  noid image save -o app.tar app:1\n  noid image save --format docker app:1 | docker load\n  skopeo copy oci-archive:app.tar docker://ghcr.io/org/app:1",
		RunE: a.verb(func(ctx context.Context, m *vm.Manager, args []string) error {
			if !slices.Contains(store.Formats, store.Format(format)) {
				return usageError(fmt.Sprintf("no format %q", format), "choose oci or docker")
			}
			if path == "-" {
				path = ""
			}
			if path == "" && term.IsTerminal(int(os.Stdout.Fd())) {
				return usageError("image save: an archive is not for a terminal", "write -o FILE, or send it through a pipe")
			}
			return m.SaveImages(ctx, unique(args), store.Format(format), path, os.Stdout)
		}),
	}
	cmd.Flags().StringVarP(&path, "output", "o", "", "write `FILE` instead of standard output")
	cmd.Flags().StringVar(&format, "format", string(store.FormatOCI), "oci or docker")
	return cmd
}
