package libpod

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// Death is the end of a container as Podman's event stream tells it: once the
// container has been cleaned up after, which its restart policy may follow.
type Death struct {
	Container string // ID
}

// Deaths tells each end of a container that carries all labels, until ctx ends,
// which returns nil. It calls listening once Podman has answered. That it does while its
// reader still opens the file of events, so an end right after may be missed: nobody may
// rely on being told. A stream that breaks is an error.
func (c *Client) Deaths(ctx context.Context, labels map[string]string, listening func(), told func(Death)) error {
	const what = "listening to podman's events"
	filter := map[string][]string{"type": {"container"}, "event": {"died"}}
	// Several filters of one kind are joined with "or", so one label is sent and
	// the others are compared here.
	for key, value := range labels {
		filter["label"] = []string{key + "=" + value}
		break
	}
	data, err := json.Marshal(filter)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	body, err := c.stream(ctx, request{
		method: http.MethodGet, path: "/events", query: url.Values{"stream": {"true"}, "filters": {string(data)}}, bound: -1, what: what,
	})
	if err != nil {
		return ignoreEnd(ctx, err)
	}
	defer func() { _ = body.Close() }() // everything of interest has been read
	listening()
	if err := readDeaths(body, labels, told); err != nil {
		return ignoreEnd(ctx, fmt.Errorf("%s: %w", what, err))
	}
	return ignoreEnd(ctx, fmt.Errorf("%s: %w", what, io.ErrUnexpectedEOF))
}

// readDeaths reads Podman's events, one JSON object after the other.
func readDeaths(r io.Reader, labels map[string]string, told func(Death)) error {
	events := json.NewDecoder(r)
	for {
		var e struct {
			Action string
			Actor  struct {
				ID         string
				Attributes map[string]string
			}
		}
		if err := events.Decode(&e); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if e.Action == "died" && e.Actor.ID != "" && Carries(e.Actor.Attributes, labels) {
			told(Death{Container: e.Actor.ID})
		}
	}
}

// ignoreEnd returns nil when ctx has ended, which is how streams are meant to end.
func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
