package libpod

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
)

// oldest is the first release whose API has every endpoint used here: networks
// and containers changed their form with 4.0.
const oldest = "4.0"

// negotiate asks the service for its version and refuses one that is too old or no
// Podman.
func negotiate(ctx context.Context, client *http.Client) (version string, err error) {
	// The path without a version is the one that every release answers.
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://d/_ping", nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err // without an address that nobody knows
	}
	if err != nil {
		return "", withCause(ctx, err)
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 4<<10)) // only the header is of interest
	_ = resp.Body.Close()
	return resp.Header.Get(versionHeader), judge(resp.Header)
}

// versionHeader is what every answer of a Podman has.
const versionHeader = "Libpod-API-Version"

// judge says what is wrong with the service that answered a ping like this.
func judge(answer http.Header) error {
	has := answer.Get(versionHeader)
	switch {
	case has == "" && answer.Get("Api-Version") != "":
		err := fmt.Errorf("it is no Podman but speaks Docker's API %s only", answer.Get("Api-Version"))
		return hint.With(err, "set CONTAINER_HOST to the socket of a Podman service")
	case has == "":
		return errors.New("it is no Podman: its answer has no Libpod-API-Version")
	case older(has, oldest):
		err := fmt.Errorf("it is Podman %s, and stacks need %s or later: before it, networks and containers are asked for in another form", has, oldest)
		return hint.With(err, "install Podman %s or later where the service runs, or set CONTAINER_HOST to another service", oldest)
	}
	return nil
}

// Before reports whether the service is older than a release, as in "5.3".
func (c *Client) Before(release string) bool { return older(c.Version, release) }

// older compares two versions by their numbers; what follows them, as in 4.0.0-rc1,
// counts for nothing. A version that has no numbers is older than any.
func older(version, than string) bool {
	a, b := numbers(version), numbers(than)
	for i := range a {
		if c := cmp.Compare(a[i], b[i]); c != 0 {
			return c < 0
		}
	}
	return false
}

func numbers(version string) (n [3]int) {
	for i, part := range strings.SplitN(version, ".", len(n)) {
		digits := strings.IndexFunc(part, func(r rune) bool { return r < '0' || r > '9' })
		if digits >= 0 {
			part = part[:digits]
		}
		n[i], _ = strconv.Atoi(part) // no number is 0
	}
	return n
}

// UnsupportedError is a feature that this release of Podman does not have. It would
// ignore the field of the request without a word.
type UnsupportedError struct {
	Feature string // in compose's words
	Has     string // the version there
	Needs   string // the first that has it; empty when none has
}

func (e *UnsupportedError) Error() string {
	if e.Needs == "" {
		return fmt.Sprintf("%s: Podman's API knows no such thing in any release, and Podman %s there would ignore it", e.Feature, e.Has)
	}
	return fmt.Sprintf("%s needs Podman %s or later, and Podman %s there would ignore it", e.Feature, e.Needs, e.Has)
}

// features are the fields of requests that some releases since [oldest] ignore. The
// releases were found in Podman's pkg/specgen of its tags.
var features = []struct {
	name  string
	since string
	used  func(*CreateRequest) bool
}{
	{"a volume of type image with a subpath", "5.1", func(r *CreateRequest) bool {
		for _, v := range r.ImageVolumes {
			if v.SubPath != "" {
				return true
			}
		}
		return false
	}},
	{"ipc: shareable or none", "4.1", func(r *CreateRequest) bool {
		return r.IpcNS != nil && (r.IpcNS.Mode == "shareable" || r.IpcNS.Mode == "none")
	}},
}

// Check returns an [*UnsupportedError] for the first thing in a request that the
// service would ignore.
func (c *Client) Check(r *CreateRequest) error {
	for _, f := range features {
		if f.used(r) && c.Before(f.since) {
			return &UnsupportedError{Feature: f.name, Has: c.Version, Needs: f.since}
		}
	}
	return nil
}

// Machine is what the service runs on.
type Machine struct {
	Platform string // os/arch, in Go's words
	Runtime  string // the OCI runtime that starts every container
}

// Machine asks the service, once; zero when it does not say.
func (c *Client) Machine(ctx context.Context) Machine {
	c.asked.Lock()
	defer c.asked.Unlock()
	if c.machine != (Machine{}) {
		return c.machine
	}
	var answer struct {
		Host struct {
			OS         string `json:"os"`
			Arch       string `json:"arch"`
			OCIRuntime struct {
				Name string `json:"name"`
			} `json:"ociRuntime"`
		} `json:"host"`
	}
	err := c.call(ctx, request{method: http.MethodGet, path: "/info", what: "asking podman for its machine"}, &answer)
	if err != nil {
		c.log.DebugContext(ctx, "podman does not say what it runs on", "error", err)
		return Machine{}
	}
	if answer.Host.Arch != "" {
		c.machine = Machine{Platform: answer.Host.OS + "/" + answer.Host.Arch, Runtime: answer.Host.OCIRuntime.Name}
	}
	return c.machine
}
