package podmanrun

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// ImageInUse is the image that a container was made from.
type ImageInUse struct {
	Container string `json:"container"`
	Service   string `json:"service"`
	Image     string `json:"image"` // as the container calls it
	ID        string `json:"id"`
}

// ImagesInUse lists what the containers of a project were made from: an owner's, or
// for none everybody's.
func (c *Client) ImagesInUse(ctx context.Context, owner Owner, project string, services []string) ([]ImageInUse, error) {
	list, err := c.listed(ctx, owner, project, services)
	if err != nil {
		return nil, err
	}
	images := make([]ImageInUse, 0, len(list))
	for _, l := range list {
		answer, err := c.api.InspectContainer(ctx, l.ID)
		if gone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		images = append(images, ImageInUse{
			Container: l.Name(), Service: l.Labels[LabelService], Image: answer.ImageName, ID: strings.TrimPrefix(answer.Image, "sha256:"),
		})
	}
	return images, nil
}

// RemoveImages removes images, and returns those that stay because a container, of
// another project say, uses them. Those that are gone already are no error; it goes
// on after one.
func (c *Client) RemoveImages(ctx context.Context, images []string) (used []string, err error) {
	var errs []error
	for _, image := range images {
		err := c.api.RemoveImage(ctx, image)
		if libpod.HasStatus(err, http.StatusConflict) {
			used = append(used, image)
			continue
		}
		errs = append(errs, err)
	}
	return used, errors.Join(errs...)
}
