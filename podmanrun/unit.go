package podmanrun

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"golang.org/x/sync/errgroup"

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

	resolved chan struct{} // closed when image and health are known
	image    *libpod.Image
	health   *healthConfig // nil is no healthcheck
	grounded chan struct{} // closed when its networks and volumes are there
	created  chan struct{} // closed when id and kept are known
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
		resolved: make(chan struct{}), grounded: make(chan struct{}), created: make(chan struct{}), launched: make(chan struct{}),
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

// watchEnd waits for the container's end, which is the goal of one that completes.
func (n *unit) watchEnd(ctx context.Context, reachedGoal func()) error {
	answer, err := n.lastEnd(ctx)
	switch {
	case err == nil:
		if err := n.ended(answer.State.ExitCode); err != nil {
			return err
		}
		reachedGoal()
		return nil
	case ctx.Err() != nil:
		return nil
	}
	return n.fail(err)
}

// watchHealth runs the check until it passes, which is the goal of every other container.
func (n *unit) watchHealth(ctx context.Context, reachedGoal func()) error {
	err := n.becomeHealthy(ctx)
	switch {
	case err == nil:
		if !n.completes {
			reachedGoal()
		}
		return nil
	case errors.Is(err, errUnhealthy):
		n.emit(EventUnhealthy, err.Error())
		if n.completes && !n.vital {
			return nil // how it ends is what counts
		}
	case ctx.Err() != nil, libpod.HasStatus(err, http.StatusNotFound):
		return nil
	case libpod.HasStatus(err, http.StatusConflict):
		return n.uncheckable(ctx, reachedGoal)
	}
	return n.fail(err)
}

// uncheckable tells a container that has ended, which watchEnd tells, from one that
// was kept and was made without the healthcheck that its service has now.
func (n *unit) uncheckable(ctx context.Context, reachedGoal func()) error {
	answer, err := n.up.client.api.InspectContainer(ctx, n.id)
	if err != nil || !answer.State.Running || answer.Config.Labels[labelCheck] != "" {
		return nil // that it is gone is told, too
	}
	n.emit(EventWarning, "it was kept and has no healthcheck; let it be made anew to have the one of its service")
	close(n.healthy)
	if !n.completes {
		reachedGoal()
	}
	return nil
}

// ended judges the end of the container while the stack comes up.
func (n *unit) ended(code int) error {
	n.emit(EventExited, strconv.Itoa(code))
	if code == 0 && (n.completes || n.health == nil) {
		close(n.completed)
		return nil
	}
	err := errors.New(endText(code))
	if !passed(n.healthy) && n.health != nil {
		err = fmt.Errorf("%w before it was healthy", err)
	}
	return n.endedWith(code, err)
}

// endedWith is the failure of a container that has ended.
func (n *unit) endedWith(code int, err error) error {
	return &ServiceError{
		Project: n.up.project.Name, Service: n.name, Replica: n.number(), Kind: FailureExited, Err: err, Exited: true, Code: code,
	}
}

// start creates the container while its dependencies are still on their way,
// and starts it when they have arrived.
func (n *unit) start(ctx context.Context, image fetched, ground *future[struct{}]) error {
	img, err := image.wait(ctx)
	if err != nil {
		return err
	}
	its := (*healthConfig)(img.Healthcheck)
	n.image, n.health = img, healthOf(n.service, its)
	close(n.resolved)
	if err := n.fits(ctx); err != nil {
		return err
	}
	n.emit(EventPulled, "")
	if _, err := ground.wait(ctx); err != nil {
		return err
	}
	close(n.grounded)
	n.request.addHealth(n.health, its)
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

// fits holds the image against the platform that is asked for, and warns of one that
// only an emulator runs here.
func (n *unit) fits(ctx context.Context) error {
	its := n.image.Platform()
	if !n.image.Runs(n.service.Platform) {
		return because(errPlatform, "image %s is %s, not %s, which is asked for", imageName(n.up.project, n.service), its, n.service.Platform)
	}
	if n.service.Platform != "" {
		// Another service may pull another platform under the same name meanwhile.
		n.request.RawImageName, n.request.Image = n.request.Image, n.image.ID
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
	err := n.inSlot(ctx, func(ctx context.Context) error {
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
	if answer, ierr := n.up.client.api.InspectContainer(ctx, n.id); ierr == nil && libpod.Ended(answer.State.Status) && !n.startsAgain(answer) {
		n.emit(EventExited, strconv.Itoa(answer.State.ExitCode))
		return n.endedWith(answer.State.ExitCode, errors.New(endText(answer.State.ExitCode)+" before its hooks had run"))
	}
	return err
}

// create keeps the running container that is what it should be, or replaces
// what is there by a new one.
func (n *unit) create(ctx context.Context, image fetched) error {
	for _, l := range n.up.before {
		if !n.is(l) {
			continue
		}
		if n.id == "" && n.keeps(l) {
			n.was, n.id, n.again = l, l.ID, l.State != "running"
			continue
		}
		if err := n.up.replace(ctx, l); err != nil {
			return err
		}
		n.emit(EventRemoved, "")
	}
	if n.again {
		return nil
	}
	if n.id != "" {
		n.kept = true
		n.emit(EventKept, "")
		return nil
	}
	if n.warm != nil {
		if err := n.warm.furnish(context.WithoutCancel(ctx)); err != nil {
			return err
		}
	}
	err := n.make(ctx)
	if !imageGone(err) {
		return err
	}
	// Another job has removed it, which nothing kept it from until now.
	img, err := image.again(ctx)
	if err != nil {
		return err
	}
	if n.service.Platform != "" {
		n.request.Image = img.ID
	}
	n.request.seal(img.ID)
	return n.make(ctx)
}

// imageGone reports whether a container could not be made for want of its image, or
// of a part of it. Podman 4 has no code for that, and no release one of its own.
func imageGone(err error) bool {
	status, ok := errors.AsType[*libpod.StatusError](err)
	return ok && (strings.Contains(status.Message, "image not known") || strings.Contains(status.Message, "layer not known"))
}

// make makes the container.
func (n *unit) make(ctx context.Context) error {
	err := n.inSlot(ctx, func(ctx context.Context) (err error) {
		n.unanswered = true
		n.id, err = n.up.client.api.CreateContainer(ctx, &n.request.CreateRequest)
		if _, answered := errors.AsType[*libpod.StatusError](err); err == nil || answered {
			n.unanswered = false
		}
		if err != nil || len(n.request.files) == 0 {
			return err
		}
		return n.up.client.api.CopyFiles(ctx, n.id, n.request.Name, n.request.files)
	})
	if err == nil {
		n.emit(EventCreated, "")
	}
	return err
}

// inSlot runs op, one of few at a time. Op gets a context that does not end
// halfway, because half a creation could not be undone.
func (n *unit) inSlot(ctx context.Context, op func(context.Context) error) error {
	select {
	case n.up.slots <- struct{}{}:
		defer func() { <-n.up.slots }()
		return op(context.WithoutCancel(ctx))
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// becomeHealthy returns when the check has passed; at once without a check.
func (n *unit) becomeHealthy(ctx context.Context) error {
	if n.health == nil || passed(n.healthy) {
		return nil
	}
	err := n.checked(ctx)
	if err == nil {
		n.emit(EventHealthy, "")
		close(n.healthy)
	}
	return err
}

// checked returns when the check has passed.
func (n *unit) checked(ctx context.Context) error {
	var slow bool
	err := n.health.untilHealthy(ctx, time.Now(), func(ctx context.Context) (healthy bool, err error) {
		healthy, slow, err = n.up.client.api.CheckContainer(ctx, n.id, n.request.Name, n.health.Timeout)
		if n.request.RestartPolicy != "" && libpod.HasStatus(err, http.StatusConflict) {
			return false, nil // it has ended, and Podman starts it again
		}
		return healthy, err
	})
	if errors.Is(err, errUnhealthy) && slow {
		return fmt.Errorf("%w, the last time by taking longer than its timeout of %s", err, n.health.Timeout)
	}
	return err
}
