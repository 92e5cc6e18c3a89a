package libpod

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// VolumesDir returns where the service keeps its volumes on its machine, from the
// place of one that is there; without one, or when that lies elsewhere, it asks the
// service about itself.
func (c *Client) VolumesDir(ctx context.Context, volume string) (string, error) {
	if volume != "" {
		place, err := c.VolumePath(ctx, volume)
		if dir, isUsual := strings.CutSuffix(place, "/"+volume+"/_data"); err != nil || isUsual {
			return dir, err
		}
	}
	var answer struct {
		Store struct {
			VolumePath string `json:"volumePath"`
		} `json:"store"`
	}
	err := c.call(ctx, request{method: http.MethodGet, path: "/info", what: "asking podman where its volumes are"}, &answer)
	return answer.Store.VolumePath, err
}

// ExportVolume returns a tar archive of what is in a volume, which the caller closes.
// Podman before 5.6 does not know the request, and the volume's own absence is the
// same: a [*StatusError] with code 404. An archive of a container's path is no
// stand-in: its owners are not those of the files.
func (c *Client) ExportVolume(ctx context.Context, name string) (io.ReadCloser, error) {
	return c.stream(ctx, request{
		method: http.MethodGet, path: "/volumes/" + url.PathEscape(name) + "/export", bound: -1, what: "reading volume " + name,
	})
}

// ImportVolume unpacks a tar archive into a volume.
func (c *Client) ImportVolume(ctx context.Context, name string, archive io.Reader) error {
	return c.call(ctx, request{
		method: http.MethodPost, path: "/volumes/" + url.PathEscape(name) + "/import", body: archive, bound: loadTimeout, what: "filling volume " + name,
	}, nil)
}
