package serve

import (
	"context"

	"noid/internal/api"
	"noid/internal/errs"
	"noid/internal/image"
	"noid/internal/image/source"
	"noid/internal/image/store"
)

// ImageRef names an image.
type ImageRef struct {
	Ref string `json:"-" query:"ref" min:"1" max:"1000" jsonschema:"its name, such as python:3.13, or its digest"`
}

// PullRequest is an image to get.
type PullRequest struct {
	Ref string `json:"ref" min:"1" max:"1000" jsonschema:"its name, such as python:3.13"`
}

// ImageList is the images of the home, the newest first.
type ImageList struct {
	Images []api.Image `json:"images"`
}

// ImageGone is an image that was removed.
type ImageGone struct {
	Ref string `json:"ref"`
}

func (s *server) addImages() {
	const tag = "Images"
	add(s, op{method: "GET", path: "/images", id: "images", verb: "image", tag: tag, summary: "List the images", reads: true}, func(_ context.Context, c *call, _ struct{}) (ImageList, error) {
		images, err := c.m.Images().List()
		out := ImageList{Images: []api.Image{}}
		for _, i := range images {
			out.Images = append(out.Images, api.ImageOf(i))
		}
		return out, err
	})
	add(s, op{method: "POST", path: "/images", id: "pull", verb: "image pull", tag: tag, summary: "Get an image of a registry, whatever is there already", long: true, events: "progress, warning",
		example: `{"ref":"python:3.13"}`}, s.pull)
	add(s, op{method: "GET", path: "/images/inspect", id: "inspect_image", verb: "image", tag: tag, summary: "Show all that is known of an image", reads: true}, func(_ context.Context, c *call, in ImageRef) (api.Image, error) {
		i, err := c.m.Images().Find(in.Ref)
		return api.ImageOf(i), err
	})
	add(s, op{method: "DELETE", path: "/images", id: "remove_image", verb: "image rm", tag: tag, summary: "Remove a name of an image, and the image with its last name"}, func(ctx context.Context, c *call, in ImageRef) (ImageGone, error) {
		return ImageGone(in), c.m.ChangeImages(ctx, "image rm", func(st *store.Store) error {
			if err := st.Check(in.Ref); err != nil {
				return err
			}
			return st.Remove(ctx, in.Ref)
		})
	})
}

func (s *server) pull(ctx context.Context, c *call, in PullRequest) (api.Image, error) {
	if kind, _ := source.Split(in.Ref); kind != "" {
		return api.Image{}, errs.New(errs.ErrUsage, "ref: %.200q is no name of an image", in.Ref).Hint("the user can make one of files: noid image import " + kind + ":... NAME")
	}
	var got image.Image
	err := c.m.ChangeImages(ctx, "image pull", func(st *store.Store) (err error) {
		p := &source.Progress{}
		st.Options.Progress = p
		defer c.watch(func() progress { return progress{"getting the image " + in.Ref, p.Done.Load(), p.Total.Load()} })()
		got, err = st.Import(ctx, in.Ref, in.Ref)
		return err
	})
	return api.ImageOf(got), ofRegistry(err)
}
