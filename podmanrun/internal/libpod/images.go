package libpod

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/docker/cli/cli/config"

	"github.com/dockless-ci/dockless/internal/hint"
)

const (
	// pullTimeout bounds one pull: 5 GB at 5 MB/s, which is a slow registry and
	// a very large image.
	pullTimeout = 20 * time.Minute
	// loadTimeout bounds reading one archive, from the local disk.
	loadTimeout = 10 * time.Minute
)

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
	var answer struct{ Names []string }
	err := c.call(ctx, request{
		method: http.MethodPost, path: "/images/load", body: archive, bound: loadTimeout, what: "loading an image archive",
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

// Pull names one image and how to get it.
type Pull struct {
	Image    string
	Platform string // os/arch[/variant]; empty is the service's own
	Policy   string // compose's pull_policy
	Built    bool   // the image comes from a build, never from a registry
	Login    Login  // zero: that of the Docker configuration
}

// EnsureImage makes the image present as the policy says and returns it.
func (c *Client) EnsureImage(ctx context.Context, p Pull, dockerConfig string, progress func(text string)) (*Image, error) {
	if p.Policy != "always" {
		image, err := c.InspectImage(ctx, p.Image)
		switch {
		case err == nil:
			return image, nil
		case !HasStatus(err, http.StatusNotFound):
			return nil, err
		case p.Built:
			err := fmt.Errorf("image %s is not in Podman's storage and stacks do not build", p.Image)
			return nil, hint.With(err, "build it first with \"dockless build --load -t %s\"", p.Image)
		case p.Policy == "never":
			err := fmt.Errorf("image %s is not in Podman's storage and must not be pulled", p.Image)
			return nil, hint.With(err, "load the image first, or change pull_policy")
		}
	}
	name, err := c.pull(ctx, p, dockerConfig, progress)
	if err != nil {
		if exists, eerr := c.ImageExists(ctx, p.Image); eerr == nil && exists {
			err = hint.With(fmt.Errorf("%w; Podman's storage has an image of this name, which may be old", err),
				"write localImage: true, or in a compose file pull_policy: missing, to use the image that is there")
		}
		return nil, err
	}
	return c.InspectImage(ctx, name)
}

// pull asks the service to pull and returns the image's full name.
func (c *Client) pull(ctx context.Context, p Pull, dockerConfig string, progress func(text string)) (string, error) {
	named, err := reference.ParseDockerRef(p.Image)
	if err != nil {
		return "", fmt.Errorf("image %q: %w", p.Image, err)
	}
	var header http.Header
	if p.Login != (Login{}) {
		header, err = p.Login.header(reference.Domain(named))
	} else {
		header, err = credentials(dockerConfig, reference.Domain(named))
	}
	if err != nil {
		return "", fmt.Errorf("pulling %s: %w", named, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, pullTimeout, fmt.Errorf("the pull did not end within %s", pullTimeout))
	defer cancel()
	query := url.Values{"reference": {named.String()}, "policy": {"always"}}
	for i, part := range strings.Split(p.Platform, "/") {
		if key := []string{"OS", "Arch", "Variant", ""}[min(i, 3)]; part != "" && key != "" {
			query.Set(key, part)
		}
	}
	body, err := c.stream(ctx, request{
		method: http.MethodPost, path: "/images/pull", query: query, header: header, bound: -1, what: "pulling " + named.String(),
	})
	if err != nil {
		return "", err
	}
	defer func() { _ = body.Close() }() // everything of interest has been read
	if err := readPull(body, progress); err != nil {
		err = fmt.Errorf("pulling %s: %w", named, withCause(ctx, err))
		return "", hint.With(err, "check the image name, the credentials in the Docker configuration and the mirrors in registries.conf")
	}
	return named.String(), nil
}

// readPull follows the report of a pull, one JSON object per line, to its end.
func readPull(body io.Reader, progress func(text string)) error {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 1<<20)
	done := false
	for lines.Scan() {
		var report struct {
			Stream string `json:"stream"`
			Error  string `json:"error"`
			ID     string `json:"id"`
		}
		if err := json.Unmarshal(lines.Bytes(), &report); err != nil {
			return fmt.Errorf("decoding podman's report: %w", err)
		}
		if report.Error != "" {
			return errors.New(report.Error)
		}
		if text := strings.TrimSpace(report.Stream); text != "" {
			progress(text)
		}
		done = done || report.ID != ""
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if !done {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// credentials returns the header that carries the credentials for registry from
// the Docker configuration in dir, or nothing when it has none.
func credentials(dir, registry string) (http.Header, error) {
	if dir == "" {
		return nil, nil //nolint:nilnil // no header is a valid answer
	}
	file, err := config.Load(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the Docker configuration: %w", err)
	}
	server := registry
	if registry == "docker.io" {
		server = "https://index.docker.io/v1/"
	}
	auth, err := file.GetAuthConfig(server)
	if err != nil {
		return nil, fmt.Errorf("reading the credentials for %s: %w", registry, err)
	}
	if auth.Username == "" && auth.IdentityToken == "" {
		return nil, nil //nolint:nilnil // no header is a valid answer
	}
	return authHeader(registry, map[string]string{
		"username": auth.Username, "password": auth.Password, "identitytoken": auth.IdentityToken,
	})
}

// Login is a user at the registry of one image.
type Login struct{ User, Password string }

func (l Login) header(registry string) (http.Header, error) {
	return authHeader(registry, map[string]string{"username": l.User, "password": l.Password})
}

// authHeader limits the credentials to one registry: mirrors never see them.
func authHeader(registry string, auth map[string]string) (http.Header, error) {
	data, err := json.Marshal(map[string]any{registry: auth})
	if err != nil {
		return nil, err
	}
	return http.Header{"X-Registry-Auth": {base64.URLEncoding.EncodeToString(data)}}, nil
}
