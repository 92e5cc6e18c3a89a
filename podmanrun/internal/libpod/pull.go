package libpod

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"time"

	"github.com/distribution/reference"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/retry"
)

// pullTimeout bounds one pull with all its attempts: 5 GB at 5 MB/s, which is a slow
// registry and a very large image.
const pullTimeout = 20 * time.Minute

// pullAgain is for registries that are busy, broken for the moment or hang up.
// Podman waits out a limit that comes with Retry-After, and asks again by itself when
// a connection breaks, but not after a server's error. A minute of pauses in all
// covers a rollout, and a limit that counts by the minute.
var pullAgain = retry.Policy{Attempts: 6, First: 2 * time.Second, Max: 30 * time.Second}

// Pull names one image and how to get it.
type Pull struct {
	Image    string
	Platform string // os/arch[/variant]; empty is the service's own
	Policy   string // compose's pull_policy
	Built    bool   // the image comes from a build, never from a registry
	Login    Login  // zero: what the caller's credentials have
}

// Credentials finds who pulls from a registry, which is docker.io for Docker's own.
// The zero Login is nobody.
type Credentials func(ctx context.Context, registry string) (Login, error)

// EnsureImage makes the image present as the policy says and returns it. An image of
// another platform than the one asked for counts as absent; one that is for another
// machine, which another job may have pulled under the same name, does if there is a
// better one. A registry that refuses is a [*PullError].
func (c *Client) EnsureImage(ctx context.Context, p Pull, who Credentials, progress func(text string)) (*Image, error) {
	if p.Policy != "always" {
		image, err := c.InspectImage(ctx, p.Image)
		switch {
		case err == nil && (p.Policy == "never" || p.Built):
			return image, nil
		case err == nil && p.Platform == "" && !c.runs(ctx, image):
			better := p
			better.Platform = c.Machine(ctx).Platform
			if id, err := c.pull(ctx, better, who, progress); err == nil {
				return c.InspectImage(ctx, id)
			}
			return image, nil
		case err == nil && image.Runs(p.Platform):
			return image, nil
		case err != nil && !HasStatus(err, http.StatusNotFound):
			return nil, err
		case p.Built:
			err = &absentError{"image " + p.Image + " is not in Podman's storage and was not built"}
			return nil, hint.With(err, "build it with \"dockless stack build\" or \"dockless build --load -t %s\"", p.Image)
		case p.Policy == "never":
			err = &absentError{"image " + p.Image + " is not in Podman's storage and must not be pulled"}
			return nil, hint.With(err, "load the image first, or change pull_policy")
		}
	}
	id, err := c.pull(ctx, p, who, progress)
	if err != nil {
		if exists, eerr := c.ImageExists(ctx, p.Image); eerr == nil && exists {
			err = hint.With(fmt.Errorf("%w; Podman's storage has an image of this name, which may be old", err),
				"write localImage: true, or in a compose file pull_policy: missing, to use the image that is there")
		}
		return nil, err
	}
	return c.InspectImage(ctx, id)
}

// runs reports whether an image is for the machine of the service. That is asked only
// when the image is not for a machine like ours, which spares the question in nearly
// every case.
func (c *Client) runs(ctx context.Context, image *Image) bool {
	return image.Runs(runtime.GOOS+"/"+runtime.GOARCH) || image.Runs(c.Machine(ctx).Platform)
}

// ErrNoImage means that an image is not there and nobody may fetch it.
var ErrNoImage = errors.New("no image")

// absentError is an [ErrNoImage] that says which.
type absentError struct{ text string }

func (e *absentError) Error() string { return e.text }
func (e *absentError) Unwrap() error { return ErrNoImage }

// pull asks the service to pull, again when the registry may come to its senses,
// and returns the image's id.
func (c *Client) pull(ctx context.Context, p Pull, who Credentials, progress func(text string)) (id string, err error) {
	named, err := reference.ParseDockerRef(p.Image)
	if err != nil {
		return "", fmt.Errorf("image %q: %w", p.Image, err)
	}
	login := p.Login
	if login == (Login{}) && who != nil {
		if login, err = who(ctx, reference.Domain(named)); err != nil {
			return "", fmt.Errorf("pulling %s: %w", named, err)
		}
	}
	header, err := login.header(reference.Domain(named))
	if err != nil {
		return "", fmt.Errorf("pulling %s: %w", named, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, pullTimeout, fmt.Errorf("the pull did not end within %s", pullTimeout))
	defer cancel()
	again := c.again
	again.Notify = func(err error, _ int, pause time.Duration) {
		progress(fmt.Sprintf("%v; trying again in %s", err, pause.Round(time.Second/10)))
	}
	err = retry.Do(ctx, again, func(ctx context.Context) (err error) {
		id, err = c.pullOnce(ctx, named, p.Platform, header, progress)
		return err
	})
	if err != nil {
		if refusal, ok := errors.AsType[*PullError](err); ok {
			err = hint.With(err, "%s", refusal.remedy())
		}
		return "", fmt.Errorf("pulling %s: %w", named, err)
	}
	return id, nil
}

func (c *Client) pullOnce(ctx context.Context, named reference.Named, platform string, header http.Header, progress func(text string)) (string, error) {
	// Podman 5 asks three times more by itself and tells nobody; once is for a registry
	// that is just starting. Podman 4 does not know the parameters.
	query := url.Values{"reference": {named.String()}, "policy": {"always"}, "retry": {"1"}, "retrydelay": {"2s"}}
	for i, part := range strings.Split(platform, "/") {
		if key := []string{"OS", "Arch", "Variant", ""}[min(i, 3)]; part != "" && key != "" {
			query.Set(key, part)
		}
	}
	// The endpoint that Docker has as well counts bytes, but Podman 5 tells there
	// only the innermost cause of a failure, without the registry that it is about.
	body, err := c.stream(ctx, request{
		method: http.MethodPost, path: "/images/pull", query: query, header: header, bound: -1, what: "asking podman to pull",
	})
	if err != nil {
		return "", err
	}
	defer func() { _ = body.Close() }() // everything of interest has been read
	id, refused, err := readPull(body, progress)
	switch {
	case err != nil:
		return "", withCause(ctx, err)
	case refused != "":
		return "", readRefusal(reference.Domain(named), refused)
	}
	return id, nil
}

// readPull follows the report of a pull, one JSON object per line, to its end: an
// image's id, or in Podman's words why there is none. Its progress are the layers,
// counted.
func readPull(body io.Reader, progress func(text string)) (id, refused string, err error) {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 1<<20)
	layers := make(map[string]bool)
	for lines.Scan() {
		var report struct {
			Stream string `json:"stream"`
			Error  string `json:"error"`
			ID     string `json:"id"`
		}
		if err := json.Unmarshal(lines.Bytes(), &report); err != nil {
			return "", "", fmt.Errorf("decoding podman's report: %w", err)
		}
		if report.Error != "" {
			return "", report.Error, nil
		}
		if report.ID != "" {
			id = report.ID
		}
		for text := range strings.Lines(report.Stream) {
			text = strings.TrimSpace(text)
			if blob, copying := strings.CutPrefix(text, "Copying blob "); copying {
				digest, _, _ := strings.Cut(blob, " ")
				if layers[digest] {
					continue
				}
				layers[digest] = true
				text = fmt.Sprintf("layer %d: %s", len(layers), blob)
			}
			if text != "" {
				progress(text)
			}
		}
	}
	if err := lines.Err(); err != nil {
		return "", "", err
	}
	if id == "" {
		return "", "", io.ErrUnexpectedEOF
	}
	return id, "", nil
}
