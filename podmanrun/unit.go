package podmanrun

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"golang.org/x/sync/errgroup"

	"github.com/dockless-ci/dockless/internal/retry"
	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// unit is one container of a service on its way up. Its goroutine alone changes it; what others
// may look at is written before the milestone that allows it.
type unit struct {
	up        *up
	name      string // of the service
	replica   int    // which of its containers, counted from 1
	service   types.ServiceConfig
	request   *createRequest
	completes bool    // another service waits for this one to end well
	warm      *warmth // nil: its volumes begin as they always do
	optional  bool    // others wait for this one, and all of them can do without
	awaited   bool    // another service waits for more than its start
	vital     bool    // another service waits for its health

	image    *libpod.Image // nil until it is there
	health   *healthConfig // nil is no healthcheck
	grounded chan struct{} // closed when its networks and volumes are there
	created  chan struct{} // closed when image and health stay, and id and kept are known
	id       string
	// unanswered: its creation was asked for, and Podman has not said what became of it.
	unanswered bool
	was        libpod.Listed // what was there before and stays; zero when it is made
	kept       bool          // it was there before, and ran
	again      bool          // it was there before, and did not run
	launched   chan struct{} // closed when Podman has started it, for the first time when it is started twice
	running    chan struct{} // closed when its hooks have run as well, and it stays so
	healthy    chan struct{} // closed when its check has passed
	completed  chan struct{} // closed when it has ended with 0
	lost       chan struct{} // closed when it failed and nobody needs it
}

func newUnit(u *up, service types.ServiceConfig, replica int, request *createRequest) *unit {
	return &unit{
		up: u, name: service.Name, replica: replica, service: service, request: request,
		grounded: make(chan struct{}), created: make(chan struct{}), launched: make(chan struct{}),
		running: make(chan struct{}), healthy: make(chan struct{}), completed: make(chan struct{}), lost: make(chan struct{}),
	}
}

// fail makes err the error of this service.
func (n *unit) fail(err error) error {
	if failed, ok := errors.AsType[*ServiceError](err); ok {
		return failed
	}
	return &ServiceError{Project: n.up.project.Name, Service: n.name, Replica: n.number(), Err: err}
}

// number is the replica as events and errors name it: zero for the only one.
func (n *unit) number() int {
	if n.service.GetScale() == 1 {
		return 0
	}
	return n.replica
}

// guest names a service that has the volumes of n or lives in its namespaces, whichever
// part of the project is started; empty when there is none.
func (n *unit) guest() string {
	for name, other := range n.up.project.AllServices() {
		refers := slices.ContainsFunc(other.VolumesFrom, func(from string) bool {
			service, _, _ := strings.Cut(from, ":")
			return service == n.name
		})
		for _, mode := range []string{other.NetworkMode, other.Pid, other.Ipc, other.Uts} {
			refers = refers || mode == ofService+n.name
		}
		if refers {
			return name
		}
	}
	return ""
}

func (n *unit) emit(kind EventKind, text string) {
	n.up.emit(Event{Service: n.name, Replica: n.number(), Kind: kind, Text: text})
}

// is reports whether a container in a list is this unit's. Containers without a
// number come from a release that knew one for each service.
func (n *unit) is(l libpod.Listed) bool {
	return l.Labels[LabelService] == n.name && cmp.Or(l.Labels[LabelReplica], "1") == strconv.Itoa(n.replica)
}

// run takes the service to its goal, calls reachedGoal, and watches it until
// ctx ends. What ends with ctx is no failure of this service, and one that nobody
// needs fails nothing else.
func (n *unit) run(ctx context.Context, image fetched, ground *future[struct{}], reachedGoal func()) error {
	err := n.live(ctx, image, ground, reachedGoal)
	if err == nil || ctx.Err() != nil || !n.optional {
		return err
	}
	if failed, ok := errors.AsType[*ServiceError](err); ok {
		n.up.detail(ctx, failed)
	}
	n.emit(EventWarning, err.Error()+"; no service requires it")
	close(n.lost)
	reachedGoal()
	return nil
}

func (n *unit) live(ctx context.Context, image fetched, ground *future[struct{}], reachedGoal func()) error {
	if err := n.start(ctx, image, ground); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return n.fail(err)
	}
	if n.leftAlone() {
		reachedGoal()
		return nil
	}
	if n.up.options.NoWait {
		reachedGoal()
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return n.watchEnd(gctx, reachedGoal) })
	g.Go(func() error { return n.watchHealth(gctx, reachedGoal) })
	return g.Wait()
}

// start creates the container while its dependencies are still on their way,
// and starts it when they have arrived.
func (n *unit) start(ctx context.Context, image fetched, ground *future[struct{}]) error {
	img, err := image.wait(ctx)
	if err != nil {
		return err
	}
	if err := n.setImage(ctx, img); err != nil {
		return err
	}
	n.emit(EventPulled, "")
	if _, err := ground.wait(ctx); err != nil {
		return err
	}
	close(n.grounded)
	if err := n.hostAddress(ctx); err != nil {
		return err
	}
	if err := n.refer(ctx); err != nil {
		return err
	}
	if err := n.placeParts(ctx); err != nil {
		return err
	}
	if err := n.warmUp(ctx, img); err != nil {
		return err
	}
	defer n.warm.close()
	n.request.seal(img.ID)
	if err := n.create(ctx, image); err != nil {
		return err
	}
	close(n.created)
	if err := n.dependencies(ctx); err != nil {
		return err
	}
	switch {
	case n.kept:
		err = n.relaunch(ctx)
	case n.warm != nil:
		err = n.warm.launch(ctx)
	default:
		err = n.launch(ctx)
	}
	if err != nil {
		return err
	}
	close(n.running)
	return nil
}

// setImage makes img the image of the container, with its healthcheck.
func (n *unit) setImage(ctx context.Context, img *libpod.Image) error {
	its := (*healthConfig)(img.Healthcheck)
	n.image, n.health = img, healthOf(n.service, its)
	n.request.addHealth(n.health, its)
	return n.fits(ctx)
}

// fits holds the image against the platform that is asked for, and warns of one that
// only an emulator runs here.
func (n *unit) fits(ctx context.Context) error {
	its := n.image.Platform()
	if !n.image.Runs(n.service.Platform) {
		return because(errPlatform, "image %s is %s, not %s, which is asked for", imageName(n.up.project, n.service), its, n.service.Platform)
	}
	if n.service.Platform != "" {
		// Another service may pull another platform under the same name meanwhile.
		n.request.RawImageName, n.request.Image = imageName(n.up.project, n.service), n.image.ID
	}
	if n.image.Runs(runtime.GOOS + "/" + runtime.GOARCH) {
		return nil // which spares a question in nearly every case; a failure asks it
	}
	if here := n.up.client.api.Machine(ctx).Platform; here != "" && !n.image.Runs(here) {
		n.emit(EventWarning, fmt.Sprintf("image %s is %s, this Podman runs %s: it needs an emulator there", imageName(n.up.project, n.service), its, here))
	}
	return nil
}

// launch starts the container.
func (n *unit) launch(ctx context.Context) error {
	err := n.onFreePorts(ctx, func(ctx context.Context) error {
		if n.isOneOff() {
			return n.up.options.oneOff.launch(ctx, n)
		}
		if n.again {
			return n.up.client.start(ctx, n.id, n.was.Name(), n.was.Labels)
		}
		return n.up.client.start(ctx, n.id, n.request.Name, n.request.Labels)
	})
	if err != nil {
		return err
	}
	n.emit(EventStarted, "")
	if !passed(n.launched) {
		close(n.launched)
	}
	return n.postStart(ctx)
}

// postStart runs the hooks that follow a start.
func (n *unit) postStart(ctx context.Context) error {
	hooks, err := hooksOf(n.service.PostStart)
	if err != nil || len(hooks) == 0 {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, hookTimeout, fmt.Errorf("a hook did not end within %s", hookTimeout))
	defer cancel()
	err = runHooks(ctx, n.up.client.api, n.id, n.request.Name, hooks)
	if err == nil || ctx.Err() != nil {
		return err
	}
	// A hook cannot run in a container that has ended, and that is what is wrong then.
	for range hookLooks {
		answer, lookErr := n.up.client.api.InspectContainer(ctx, n.id)
		if lookErr != nil {
			break
		}
		if libpod.Ended(answer.State.Status) {
			if n.startsAgain(answer) {
				break
			}
			n.emit(EventExited, strconv.Itoa(answer.State.ExitCode))
			return n.endedWith(answer.State.ExitCode, errors.New(endText(answer.State.ExitCode)+" before its hooks had run"))
		}
		if retry.Wait(ctx, endLook) != nil {
			break
		}
	}
	return err
}
