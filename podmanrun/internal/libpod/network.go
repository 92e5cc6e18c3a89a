package libpod

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/retry"
)

// networkAgain bounds how often a network is asked for again. What is in the way is
// gone in the next moment: it was there for one look only.
var networkAgain = retry.Policy{Attempts: 5, First: 100 * time.Millisecond, Max: time.Second}

// Podman's words for what passes when it makes a network.
var (
	// It looks for a free subnet and a free name of a bridge first, and takes them
	// then: another Podman of the machine may have done so in between.
	takenWords = regexp.MustCompile(`already (?:used|in use|being used|exists)`)
	// It lists the machine's interfaces and then their addresses, and a bridge of
	// another job goes in between. Seen once in 700 networks on a busy machine.
	goneWords = regexp.MustCompile(`no such network interface`)
)

// EnsureNetwork makes a network unless it exists, and reports whether it did.
func (c *Client) EnsureNetwork(ctx context.Context, r NetworkRequest) (made bool, err error) {
	exists, err := c.Exists(ctx, "/networks/"+url.PathEscape(r.Name)+"/exists", "looking for network "+r.Name)
	if err != nil || exists {
		return false, err
	}
	chosen := len(r.Subnets) > 0 || r.NetworkInterface != "" // what is taken then stays so
	again := networkAgain
	again.Retryable = func(err error) bool {
		status, ok := errors.AsType[*StatusError](err)
		return ok && (goneWords.MatchString(status.Message) || !chosen && takenWords.MatchString(status.Message))
	}
	err = retry.Do(ctx, again, func(ctx context.Context) error {
		err := c.call(ctx, request{method: http.MethodPost, path: "/networks/create", body: r, what: "creating network " + r.Name}, nil)
		if made = err == nil; HasStatus(err, http.StatusConflict) {
			return nil // somebody was faster
		}
		return err
	})
	return made, err
}

// Gateway returns the address at which containers of a network reach the service's
// machine; empty when they do not, because it is internal or not a bridge.
func (c *Client) Gateway(ctx context.Context, name string) (string, error) {
	var answer struct {
		Internal bool     `json:"internal"`
		Subnets  []Subnet `json:"subnets"`
	}
	err := c.call(ctx, request{method: http.MethodGet, path: "/networks/" + url.PathEscape(name) + "/json", what: "looking at network " + name}, &answer)
	if err != nil || answer.Internal || len(answer.Subnets) == 0 {
		return "", err
	}
	return answer.Subnets[0].Gateway, nil
}

// existsWords is how Podman refuses, with a 500, to make a volume that somebody else has
// made since it was looked for.
const existsWords = "volume already exists"

// EnsureVolume makes a volume unless it exists, and reports whether it did.
func (c *Client) EnsureVolume(ctx context.Context, r VolumeRequest) (made bool, err error) {
	exists, err := c.Exists(ctx, "/volumes/"+url.PathEscape(r.Name)+"/exists", "looking for volume "+r.Name)
	if err != nil || exists {
		return false, err
	}
	r.Label = r.Labels
	err = c.call(ctx, request{method: http.MethodPost, path: "/volumes/create", body: r, what: "creating volume " + r.Name}, nil)
	if status, ok := errors.AsType[*StatusError](err); ok && strings.Contains(status.Message, existsWords) {
		return false, nil // somebody was faster
	}
	return err == nil, err
}

// NetworkLabels returns the labels of a network.
func (c *Client) NetworkLabels(ctx context.Context, name string) (map[string]string, error) {
	var answer struct{ Labels map[string]string }
	err := c.call(ctx, request{method: http.MethodGet, path: "/networks/" + url.PathEscape(name) + "/json", what: "looking at network " + name}, &answer)
	return answer.Labels, err
}

// VolumeLabels returns the labels of a volume.
func (c *Client) VolumeLabels(ctx context.Context, name string) (map[string]string, error) {
	var answer struct{ Labels map[string]string }
	err := c.call(ctx, request{method: http.MethodGet, path: "/volumes/" + url.PathEscape(name) + "/json", what: "looking at volume " + name}, &answer)
	return answer.Labels, err
}

// VolumePath returns where the content of a volume lies on the service's machine.
func (c *Client) VolumePath(ctx context.Context, name string) (string, error) {
	var answer struct{ Mountpoint string }
	err := c.call(ctx, request{method: http.MethodGet, path: "/volumes/" + url.PathEscape(name) + "/json", what: "looking for volume " + name}, &answer)
	return answer.Mountpoint, err
}

// Exists asks one of the API's paths that answer whether something exists.
func (c *Client) Exists(ctx context.Context, path, what string) (bool, error) {
	err := c.call(ctx, request{method: http.MethodGet, path: path, what: what}, nil)
	if HasStatus(err, http.StatusNotFound) {
		return false, nil
	}
	return err == nil, err
}

// RemoveNetwork removes a network; with force also the containers of others
// that are still connected to it. One that is gone already is no error.
func (c *Client) RemoveNetwork(ctx context.Context, name string, force bool) error {
	what := "removing network " + name
	var reports []networkReport
	if err := c.remove(ctx, "/networks/"+url.PathEscape(name), what, force, &reports); err != nil {
		return err
	}
	for _, r := range reports {
		if err := r.failure(); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}

// networkReport is what Podman tells of the removal of a network, with status 200
// also when its network backend has failed.
type networkReport struct {
	Name string
	Err  json.RawMessage // an error, of which JSON keeps nothing, or null
}

// errBackend is all that is known of the failure of a network backend.
var errBackend = errors.New("podman's network backend failed; the log of the Podman service says why")

// failure is why the network has not been removed; nil when it has.
func (r networkReport) failure() error {
	if len(r.Err) == 0 || string(r.Err) == "null" {
		return nil
	}
	var words string
	if json.Unmarshal(r.Err, &words) == nil {
		return fmt.Errorf("%w (%s)", errBackend, words)
	}
	return errBackend
}

// RemoveVolume removes a volume. Never by force, because Podman would remove
// the containers of others that use it, too.
func (c *Client) RemoveVolume(ctx context.Context, name string) error {
	return c.remove(ctx, "/volumes/"+url.PathEscape(name), "removing volume "+name, false, nil)
}

func (c *Client) remove(ctx context.Context, path, what string, force bool, result any) error {
	query := url.Values{"force": {strconv.FormatBool(force)}}
	err := c.call(ctx, request{method: http.MethodDelete, path: path, query: query, what: what}, result)
	if HasStatus(err, http.StatusNotFound) {
		return nil
	}
	return err
}

// ListNetworks returns the networks that carry all labels.
func (c *Client) ListNetworks(ctx context.Context, labels map[string]string) ([]Network, error) {
	var list []Network
	err := c.call(ctx, request{method: http.MethodGet, path: "/networks/json", query: filters(labels), what: "listing networks"}, &list)
	list = slices.DeleteFunc(list, func(n Network) bool { return !Carries(n.Labels, labels) })
	return list, err
}

// ListVolumes returns the volumes that carry all labels.
func (c *Client) ListVolumes(ctx context.Context, labels map[string]string) ([]Volume, error) {
	var list []Volume
	err := c.call(ctx, request{method: http.MethodGet, path: "/volumes/json", query: filters(labels), what: "listing volumes"}, &list)
	list = slices.DeleteFunc(list, func(v Volume) bool { return !Carries(v.Labels, labels) })
	return list, err
}

// RemovePods removes every pod that carries labels, with its containers, and
// returns their names.
func (c *Client) RemovePods(ctx context.Context, labels map[string]string) (removed []string, err error) {
	var list []Pod
	err = c.call(ctx, request{method: http.MethodGet, path: "/pods/json", query: filters(labels), what: "listing pods"}, &list)
	errs := []error{err}
	for _, p := range list {
		if !Carries(p.Labels, labels) {
			continue
		}
		if err := c.remove(ctx, "/pods/"+url.PathEscape(p.ID), "removing pod "+p.Name, true, nil); err != nil {
			errs = append(errs, err)
			continue
		}
		removed = append(removed, p.Name)
	}
	return removed, errors.Join(errs...)
}

// Carries reports whether got has all of want. Podman's own filters are not
// enough: for volumes it joins several labels with "or".
func Carries(got, want map[string]string) bool {
	for key, value := range want {
		if v, ok := got[key]; !ok || v != value {
			return false
		}
	}
	return true
}
