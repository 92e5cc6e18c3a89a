package podmanrun

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// DownOptions says how [Client.Down] removes a project.
type DownOptions struct {
	Owner    Owner          // remove only what is this owner's; zero: everybody's
	force    bool           // remove containers of others from the networks
	Volumes  bool           // remove the project's named volumes too
	Timeout  *time.Duration // time between SIGTERM and SIGKILL instead of each service's own; nil keeps those
	Progress func(Event)    // told what is removed, one event at a time; may be nil
}

// Down stops and removes everything that carries the labels of the project and the owner: all
// containers at once, then the networks and, if asked, the volumes. Removing a
// project that does not exist is no error.
func (c *Client) Down(ctx context.Context, project string, o DownOptions) error {
	_, err := c.removeLabelled(ctx, ownedBy(o.Owner, project, nil), o)
	return err
}

// Removed counts what [Client.RemoveOwned] has removed.
type Removed struct {
	Pods       []string `json:"pods,omitempty"` // names; their containers are not told again
	Containers []string `json:"containers"`
	Networks   []string `json:"networks"`
	Volumes    []string `json:"volumes"`
}

// Empty reports whether nothing was left to remove.
func (r Removed) Empty() bool {
	return len(r.Pods)+len(r.Containers)+len(r.Networks)+len(r.Volumes) == 0
}

// RemoveOwned removes every pod, container, network and volume of one owner,
// killing what still runs, and every container that is connected to such a
// network. Images stay: they are a cache, for every job. An empty Job means all
// jobs of the agent. An owner without an agent is refused, because it would match
// what belongs to nobody.
func (c *Client) RemoveOwned(ctx context.Context, owner Owner) (Removed, error) {
	if owner.Agent == "" {
		return Removed{}, errors.New("removing what an agent owns: the agent has no name")
	}
	// A pod takes its containers along; one of them could not be removed alone.
	pods, perr := c.api.RemovePods(ctx, owner.Labels())
	removed, err := c.removeLabelled(ctx, owner.Labels(), DownOptions{Volumes: true, Timeout: new(time.Duration), force: true})
	removed.Pods = pods
	return removed, errors.Join(perr, err)
}

// removeLabelled removes what carries labels. It goes on after an error, and
// reports all of them with what it could remove.
func (c *Client) removeLabelled(ctx context.Context, labels map[string]string, o DownOptions) (removed Removed, err error) {
	containers, err := c.api.ListContainers(ctx, labels)
	if err != nil {
		return removed, err
	}
	errs := []error{c.removeAll(ctx, containers, o.Timeout, func(l libpod.Listed) {
		removed.Containers = append(removed.Containers, l.Name())
		if o.Progress != nil {
			o.Progress(Event{Service: l.Labels[LabelService], Replica: replicaIn(l, containers), Kind: EventRemoved})
		}
	})}
	networks, err := c.api.ListNetworks(ctx, labels)
	errs = append(errs, err)
	for _, n := range networks {
		if err := c.api.RemoveNetwork(ctx, n.Name, o.force); err != nil {
			errs = append(errs, c.inUse(ctx, "network "+n.Name, err, func(l libpod.Listed) bool { return slices.Contains(l.Networks, n.Name) }))
			continue
		}
		removed.Networks = append(removed.Networks, n.Name)
	}
	volumes, err := c.api.ListVolumes(ctx, labels)
	errs = append(errs, err)
	for _, v := range volumes {
		if !o.Volumes && v.Labels[labelPrivate] == "" {
			continue
		}
		if err := c.api.RemoveVolume(ctx, v.Name); err != nil {
			errs = append(errs, c.inUse(ctx, "volume "+v.Name, err, func(l libpod.Listed) bool { return strings.Contains(err.Error(), l.ID) }))
			continue
		}
		removed.Volumes = append(removed.Volumes, v.Name)
	}
	return removed, errors.Join(errs...)
}

// removeAll removes containers, with their own grace unless one is given: those
// that depend on others first, as they were started in reverse, and all others at
// once. Calls of done do not overlap.
func (c *Client) removeAll(ctx context.Context, list []libpod.Listed, grace *time.Duration, done func(libpod.Listed)) error {
	var mu sync.Mutex
	var errs []error
	gone := make(map[string]chan struct{}, len(list)) // by container; closed when it is gone or will not go
	for _, l := range list {
		gone[l.ID] = make(chan struct{})
	}
	var g errgroup.Group
	for _, l := range list {
		g.Go(func() error {
			defer close(gone[l.ID])
			for _, dependent := range dependents(l, list) {
				<-gone[dependent.ID] // its removal is bounded
			}
			wait := graceOf(l)
			if grace != nil {
				wait = *grace
			}
			c.preStop(ctx, l, wait)
			err := c.api.RemoveContainer(ctx, l.ID, l.Name(), wait)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
				return nil
			}
			done(l)
			return nil
		})
	}
	_ = g.Wait() // the errors are in errs, all of them
	return errors.Join(errs...)
}

// dependents are the containers in list that depend on l. Labels are text that
// anybody can write: a ring in them is cut where it is noticed.
func dependents(l libpod.Listed, list []libpod.Listed) []libpod.Listed {
	needs := func(a, b libpod.Listed) bool {
		return a.ID != b.ID && a.Labels[LabelProject] == b.Labels[LabelProject] && a.Labels[LabelJob] == b.Labels[LabelJob] &&
			slices.Contains(strings.Split(a.Labels[labelAfter], ","), b.Labels[LabelService])
	}
	var found []libpod.Listed
	for _, other := range list {
		if needs(other, l) && !reaches(l, other, list, needs) {
			found = append(found, other)
		}
	}
	return found
}

// reaches reports whether from depends on to, directly or through others.
func reaches(from, to libpod.Listed, list []libpod.Listed, needs func(a, b libpod.Listed) bool) bool {
	seen := make(map[string]bool, len(list))
	var walk func(libpod.Listed) bool
	walk = func(at libpod.Listed) bool {
		if seen[at.ID] {
			return false
		}
		seen[at.ID] = true
		for _, next := range list {
			if needs(at, next) && (next.ID == to.ID || walk(next)) {
				return true
			}
		}
		return false
	}
	return walk(from)
}
