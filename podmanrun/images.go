package podmanrun

import (
	"context"
	"strings"
)

// ImageInUse is the image that a container was made from.
type ImageInUse struct {
	Container string `json:"container"`
	Service   string `json:"service"`
	Image     string `json:"image"` // as the container calls it
	ID        string `json:"id"`
}

// ImagesInUse lists what the containers of a project were made from.
func (c *Client) ImagesInUse(ctx context.Context, project string, services []string) ([]ImageInUse, error) {
	list, err := c.listed(ctx, project, services)
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

// RemoveImages removes images that no container uses any more. Those that are gone
// already are no error.
func (c *Client) RemoveImages(ctx context.Context, images []string) error {
	for _, image := range images {
		if err := c.api.RemoveImage(ctx, image); err != nil {
			return err
		}
	}
	return nil
}
