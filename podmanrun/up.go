package podmanrun

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"golang.org/x/sync/errgroup"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

const (
	// cleanupTimeout bounds the removal of everything after a failed start.
	// Containers are killed, which takes Podman about 300 ms each.
	cleanupTimeout = time.Minute
	// parallel is how many containers Podman creates or starts at once for us.
	// They share one lock on the storage, so more only wait there.
	parallel = 8
	// parallelPulls is how many images come at once: Podman fetches several layers of
	// each at the same time, and registries count requests.
	parallelPulls = 4
)

var errCleanupTimeout = fmt.Errorf("removing a failed stack took longer than %s", cleanupTimeout)

// UpOptions says how [Client.Up] starts a project.
type UpOptions struct {
	Owner         Owner         // of what is made; what another owner has in a project of the same name is left alone
	WaitTimeout   time.Duration // longest time to all healthy once all images are there; zero leaves it to ctx
	DockerConfig  string        // directory of the Docker configuration with registry credentials; empty is none
	Credentials   Credentials   // asked for each registry instead of DockerConfig; nil asks that
	RemoveOrphans bool          // remove containers of services the project no longer has, instead of a warning
	Warm          WarmScopes    // of services that ask for a warm start
	Progress      func(Event)   // told what happens, one event at a time; may be nil

	// Timeout is the time between SIGTERM and SIGKILL of containers that were there and
	// are replaced or restarted, instead of each service's own; nil keeps those.
	Timeout *time.Duration

	// NoWait returns as soon as everything is started: conditions of dependencies
	// are waited for, and nothing else.
	NoWait bool
	// Recreate says which containers that are there are replaced.
	Recreate Recreate
	// RecreateOnly names the services that Recreate is for, the others having
	// [RecreateChanged]; nil is all of them.
	RecreateOnly []string
	// Build builds the image of a service and puts it under its name into Podman's
	// storage; nil builds nothing. It may be called concurrently.
	Build   func(context.Context, BuildRequest) error
	Rebuild bool // build also what is there already

	oneOff *oneOff // see [Client.Run]
}

// Credentials find who pulls from a registry, as it stands in front of an image's name;
// docker.io is Docker's own. Nothing at all is nobody. A token is an identity token,
// which stands for the password.
type Credentials func(ctx context.Context, registry string) (user, password, identityToken string, err error)

// logins are the credentials of this call.
func (o *UpOptions) logins() libpod.Credentials {
	if o.Credentials == nil {
		return libpod.DockerConfig(o.DockerConfig)
	}
	return func(ctx context.Context, registry string) (Login, error) {
		user, password, token, err := o.Credentials(ctx, registry)
		return Login{User: user, Password: password, Token: token}, err
	}
}

// Up brings the project up and returns when every service is as ready as it can
// say: healthy if it has a healthcheck, ended with 0 if another service waits
// for that, running otherwise. Services start in parallel as their dependencies
// allow. Containers that already run from the same configuration are kept,
// others of the project are made anew; those that were stopped are started.
//
// The first service that cannot be started, ends with a failure or turns
// unhealthy ends Up with a [*ServiceError]. Then, and when ctx ends, everything
// this call has made is removed before it returns.
func (c *Client) Up(ctx context.Context, p *Project, o UpOptions) (*Stack, error) {
	u := &up{client: c, project: p.compose, logins: p.logins, place: p.place, options: o, units: make(map[string][]*unit), slots: make(chan struct{}, parallel), pulls: make(chan struct{}, parallelPulls), exits: newExits(c.api)}
	for _, warning := range p.warnings {
		u.emit(Event{Kind: EventWarning, Text: warning})
	}
	if err := u.prepare(ctx); err != nil {
		if failed, ok := errors.AsType[*ServiceError](err); ok {
			failed.Kind, failed.Chain = kindOf(failed), []string{failed.Service}
		}
		return nil, err
	}
	stack, err := u.run(ctx)
	if err != nil {
		return nil, errors.Join(err, u.undo(ctx))
	}
	return stack, nil
}

// up is one call of [Client.Up].
type up struct {
	client  *Client
	project *types.Project
	logins  map[string]Login
	place   func(string, error) error // see [Project]
	options UpOptions
	units   map[string][]*unit // by service, in the order of their replicas
	slots   chan struct{}      // bounds how many containers are created or started at once
	pulls   chan struct{}      // bounds how many images are pulled at once
	before  []libpod.Listed    // of the project, before this call
	aside   []libpod.Listed    // likewise, but not this call's business
	exits   *exits

	events sync.Mutex // serialises Progress

	mu       sync.Mutex
	networks []string // made by this call
	volumes  []string // made by this call
}

// at puts the place of a key in the project's file in front of err.
func (u *up) at(path string, err error) error {
	if u.place == nil {
		return err
	}
	return u.place(path, err)
}

func (u *up) emit(e Event) {
	if u.options.Progress == nil {
		return
	}
	u.events.Lock()
	defer u.events.Unlock()
	u.options.Progress(e)
}

// prepare looks at what exists and makes the units, before anything is changed.
func (u *up) prepare(ctx context.Context) (err error) {
	u.before, err = u.client.api.ListContainers(ctx, ownedBy(u.options.Owner, u.project.Name, nil))
	if err != nil {
		return err
	}
	u.setAside()
	for name, service := range u.project.Services {
		u.units[name] = nil // also when it is scaled to nothing
		for replica := range service.GetScale() {
			request, err := containerRequest(u.project, service, replica+1, u.options.Owner)
			if err != nil {
				return fmt.Errorf("service %s: %w", name, err)
			}
			u.units[name] = append(u.units[name], newUnit(u, service, replica+1, u.oneOffRequest(name, request)))
		}
	}
	if err := u.supported(ctx); err != nil {
		return err
	}
	needed := make(map[string]bool) // by a service that cannot do without
	for name := range u.units {
		for _, dep := range dependencies(u.project, name) {
			needed[dep.Service] = needed[dep.Service] || u.project.Services[name].DependsOn[dep.Service].Required
			for _, unit := range u.units[dep.Service] {
				unit.vital = unit.vital || dep.Condition == ServiceHealthy
				unit.completes = unit.completes || dep.Condition == ServiceCompleted
				unit.optional = !needed[dep.Service]
				unit.awaited = unit.awaited || dep.Condition != ServiceStarted
			}
		}
	}
	return u.hostPaths()
}

// supported refuses what this Podman would ignore.
func (u *up) supported(ctx context.Context) error {
	for unit := range u.all() {
		err := u.client.api.Check(&unit.request.CreateRequest)
		if runtime := unit.request.OCIRuntime; err == nil && runtime != "" && runtime != u.client.api.Machine(ctx).Runtime {
			// No release's pkg/specgen/generate looks at the field.
			err = &libpod.UnsupportedError{Feature: "runtime: " + runtime, Has: u.client.Version()}
		}
		if err == nil {
			err = unit.profileThere()
		}
		if err != nil {
			return unit.fail(err)
		}
	}
	return nil
}

// hostPaths makes the directories that bind mounts expect, as compose does,
// when Podman sees the same file system.
func (u *up) hostPaths() error {
	if !u.client.local() {
		return nil
	}
	for _, service := range u.project.Services {
		for _, v := range service.Volumes {
			if v.Type != types.VolumeTypeBind || v.Bind == nil || !bool(v.Bind.CreateHostPath) {
				continue
			}
			if _, err := os.Stat(v.Source); !errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err := os.MkdirAll(v.Source, 0o755); err != nil { //nolint:gosec // a container's user must be able to enter
				return fmt.Errorf("service %s: making the directory of a bind mount: %w", service.Name, err)
			}
		}
	}
	return nil
}

// run starts everything and waits for all units to reach their goals.
func (u *up) run(ctx context.Context) (*Stack, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := u.orphans(ctx); err != nil {
		return nil, err
	}
	watchCtx, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	g, gctx := errgroup.WithContext(watchCtx)
	ground := newFuture(g, func() (struct{}, error) { return struct{}{}, u.ground(gctx) })
	images := u.pullAll(gctx, g)
	if t := u.options.WaitTimeout; t > 0 {
		g.Go(func() error {
			images.wait(gctx) // pulls and builds have bounds of their own
			timer := time.AfterFunc(t, func() { cancel(&waitTimeoutError{after: t}) })
			<-gctx.Done()
			timer.Stop()
			return nil
		})
	}
	g.Go(func() error {
		u.exits.listen(gctx, ownedBy(u.options.Owner, u.project.Name, nil))
		return nil
	})
	var goals sync.WaitGroup
	for unit := range u.all() {
		goals.Add(1)
		reachedGoal := sync.OnceFunc(goals.Done)
		g.Go(func() error {
			defer reachedGoal()
			return unit.run(gctx, images[unit.name], ground, reachedGoal)
		})
	}
	g.Go(func() error {
		goals.Wait()
		stopWatching()
		return nil
	})
	err := g.Wait()
	if err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, u.explain(ctx, err)
	}
	return u.finish(ctx)
}

// all yields the units of every service.
func (u *up) all() iter.Seq[*unit] {
	return func(yield func(*unit) bool) {
		for _, units := range u.units {
			for _, unit := range units {
				if !yield(unit) {
					return
				}
			}
		}
	}
}

// orphans removes containers of replicas that are too many, and removes, or warns
// about, those of services that are gone from the project.
func (u *up) orphans(ctx context.Context) error {
	var surplus []libpod.Listed
	for _, l := range u.before {
		service := l.Labels[LabelService]
		units, active := u.units[service]
		switch {
		case active && slices.ContainsFunc(units, func(n *unit) bool { return n.is(l) }):
		case !active && u.knows(service): // it is not part of this start, but of the project
		case active || u.options.RemoveOrphans:
			surplus = append(surplus, l)
		default:
			u.emit(Event{Service: service, Kind: EventWarning, Text: "container " + l.Name() + " belongs to the project but its service is not part of it any more"})
		}
	}
	return u.client.removeAll(ctx, surplus, u.options.Timeout, func(l libpod.Listed) {
		u.emit(Event{Service: l.Labels[LabelService], Replica: replicaIn(l, u.before), Kind: EventRemoved})
	})
}
