package libpod

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/docker/cli/cli/config"
)

// loadTimeout bounds reading one archive, from the local disk.
const loadTimeout = 10 * time.Minute

// ImageExists reports whether the Podman service has the image, without asking
// a registry.
func (c *Client) ImageExists(ctx context.Context, image string) (bool, error) {
	_, err := c.InspectImage(ctx, image)
	if HasStatus(err, http.StatusNotFound) {
		return false, nil
	}
	return err == nil, err
}

// LoadImage reads an image archive, as "docker save" or a BuildKit exporter
// writes it, into Podman's storage and returns the names of its images.
func (c *Client) LoadImage(ctx context.Context, archive io.Reader) ([]string, error) {
	sifted := loadable(archive)
	defer func() { _ = sifted.Close() }() // ends its goroutine when Podman has not read all
	var answer struct{ Names []string }
	err := c.call(ctx, request{
		method: http.MethodPost, path: "/images/load", body: sifted, bound: loadTimeout, what: "loading an image archive",
	}, &answer)
	return answer.Names, err
}

// InspectImage returns an image of the storage. One that is not there is a
// [*StatusError] with code 404.
func (c *Client) InspectImage(ctx context.Context, image string) (*Image, error) {
	var answer Image
	err := c.call(ctx, request{
		method: http.MethodGet, path: "/images/" + url.PathEscape(image) + "/json", what: "inspecting image " + image,
	}, &answer)
	if err != nil {
		return nil, err
	}
	return &answer, nil
}

// DockerConfig are the credentials of the Docker configuration in dir; with an
// empty one nobody is logged in.
func DockerConfig(dir string) Credentials {
	return func(_ context.Context, registry string) (Login, error) {
		if dir == "" {
			return Login{}, nil
		}
		file, err := config.Load(dir)
		if err != nil {
			return Login{}, fmt.Errorf("reading the Docker configuration: %w", err)
		}
		server := registry
		if registry == "docker.io" {
			server = "https://index.docker.io/v1/"
		}
		auth, err := file.GetAuthConfig(server)
		if err != nil {
			return Login{}, fmt.Errorf("reading the credentials for %s: %w", registry, err)
		}
		return Login{User: auth.Username, Password: auth.Password, Token: auth.IdentityToken}, nil
	}
}

// Login is a user at the registry of one image. Its zero value is nobody.
type Login struct {
	User, Password string
	Token          string // an identity token instead of the password; empty is none
}

// header carries the login to one registry: mirrors never see it. Nobody has none.
func (l Login) header(registry string) (http.Header, error) {
	if l.User == "" && l.Token == "" {
		return nil, nil //nolint:nilnil // no header is a valid answer
	}
	data, err := json.Marshal(map[string]any{registry: map[string]string{
		"username": l.User, "password": l.Password, "identitytoken": l.Token,
	}})
	if err != nil {
		return nil, err
	}
	return http.Header{"X-Registry-Auth": {base64.URLEncoding.EncodeToString(data)}}, nil
}
