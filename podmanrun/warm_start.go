package podmanrun

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"time"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
	"github.com/dockless-ci/dockless/podmanrun/internal/warm"
)

const (
	// warmPatience is how much longer than its start from nothing a service may take
	// from a state that was kept: on a busy machine everything takes longer.
	warmPatience = 2
	// warmLeast is the least that it may take.
	warmLeast = 10 * time.Second
	// killed is the exit code of a container that did not end by itself.
	killed = 128 + 9
)

// warmth is how one container starts from what an earlier one left.
type warmth struct {
	unit    *unit
	store   warm.Store
	key     string
	volumes []warmVolume
	carrier carrier
	found   *warm.Reading // nil is a cold start
	fresh   bool          // all volumes were made for this start
}

// warmUp prepares the container for a warm start if its service wants one. What
// stands against it is a warning: the service then starts as any other.
func (n *unit) warmUp(ctx context.Context, img *libpod.Image) error {
	wish, err := warmWishOf(n.service)
	if err != nil || !wish.on || n.up.client.warmSize == 0 || n.isOneOff() {
		return err
	}
	w, err := n.warmthOf(ctx, wish, img)
	switch {
	case err == nil:
		n.warm = w
		n.mount(w.volumes)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	default:
		n.emit(EventWarning, "it does not start warm: "+err.Error())
	}
	return nil
}

func (n *unit) warmthOf(ctx context.Context, wish warmWish, img *libpod.Image) (w *warmth, err error) {
	if n.up.options.Warm.Own == "" {
		return nil, notWarmError("nobody says whose its data would be")
	}
	w = &warmth{unit: n}
	if w.volumes, err = n.warmVolumes(wish, img); err != nil {
		return nil, err
	}
	w.key, err = n.warmKey(ctx, w.volumes, img)
	return w, err
}

// mount gives the container's own volumes, which have no names otherwise, those by
// which they can be filled before the start.
func (n *unit) mount(volumes []warmVolume) {
	for _, v := range volumes {
		at := slices.IndexFunc(n.request.Volumes, func(r libpod.NamedVolume) bool { return path.Clean(r.Dest) == v.target })
		if at < 0 {
			n.request.Volumes = append(n.request.Volumes, libpod.NamedVolume{Dest: v.target})
			at = len(n.request.Volumes) - 1
		}
		n.request.Volumes[at].Name = v.name
	}
}

// close gives back what a start that did not come to its end holds; nil holds nothing.
func (w *warmth) close() {
	if w != nil && w.found != nil {
		w.found.Close()
	}
}

// giveUp makes the start one like any other; nil is one already.
func (w *warmth) giveUp(reason string) {
	if w == nil || !w.fresh {
		return
	}
	w.close()
	w.found, w.fresh = nil, false
	w.unit.nocopy(w.volumes, false)
	w.unit.emit(EventWarning, "it does not start warm: "+reason)
}

// furnish makes the volumes that are the container's own, and finds the state to
// put into all of them. It runs when the former container is gone.
func (w *warmth) furnish(ctx context.Context) error {
	n := w.unit
	w.fresh = true
	for _, v := range w.volumes {
		if v.key == "" {
			if err := w.remake(ctx, v); err != nil {
				return err
			}
		}
		w.fresh = w.fresh && n.up.madeVolume(v.name)
	}
	if !w.fresh {
		return nil
	}
	var err error
	if w.store, err = n.up.client.warmStore(ctx, w.volumes[0].name); err == nil {
		w.carrier, err = n.carrierFor(ctx, w.volumes)
	}
	if err != nil {
		w.fresh = false
		if reason, ok := errors.AsType[notWarmError](err); ok {
			n.emit(EventWarning, "it does not start warm: "+reason.Error())
			return nil
		}
		return err
	}
	w.found, err = w.store.Open(n.up.options.Warm.all(), w.carrier.name()+"-"+w.key)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		n.emit(EventWarning, "what it would start from is left out: "+err.Error())
	}
	n.nocopy(w.volumes, w.found != nil)
	return nil
}

// nocopy says whether what the image has in the place of its volumes is left out of
// them: what is put into them has it already.
func (n *unit) nocopy(volumes []warmVolume, on bool) {
	for i, v := range n.request.Volumes {
		at := slices.IndexFunc(volumes, func(w warmVolume) bool { return w.name == v.Name })
		if at < 0 {
			continue
		}
		n.request.Volumes[i].Options = volumes[at].options
		if on && !slices.Contains(volumes[at].options, "nocopy") {
			n.request.Volumes[i].Options = append(slices.Clone(volumes[at].options), "nocopy")
		}
	}
}

// remake makes a volume of the container's own, in place of a former one's.
func (w *warmth) remake(ctx context.Context, v warmVolume) error {
	u := w.unit.up
	labels := ownedBy(u.options.Owner, u.project.Name, map[string]string{LabelService: w.unit.name, labelPrivate: "true"})
	former, err := u.client.api.ListVolumes(ctx, labels)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(former, func(f libpod.Volume) bool { return f.Name == v.name }) {
		if err := u.client.api.RemoveVolume(ctx, v.name); err != nil {
			return err
		}
	}
	made, err := u.client.api.EnsureVolume(ctx, libpod.VolumeRequest{Name: v.name, Labels: labels})
	if err != nil {
		return err
	}
	if !made {
		return fmt.Errorf("volume %s is there and does not belong to this project", v.name)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.volumes = append(u.volumes, v.name)
	return nil
}

// madeVolume reports whether this call of [Client.Up] has made a volume.
func (u *up) madeVolume(name string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Contains(u.volumes, name)
}

// launch starts the container from what was kept, or else keeps what it is in when
// it is healthy for the first time.
func (w *warmth) launch(ctx context.Context) error {
	n := w.unit
	if !w.fresh {
		return n.launch(ctx)
	}
	if w.found != nil {
		err := w.load(ctx)
		if err == nil {
			if err := n.launch(ctx); err != nil {
				return err // which is not for what was kept
			}
			err = w.healthyAgain(ctx)
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
		n.emit(EventWarning, "what was kept of it is of no use and removed, it starts from nothing: "+err.Error())
		if err := errors.Join(w.found.Drop(), w.startOver(ctx)); err != nil {
			return err
		}
	}
	return w.launchCold(ctx)
}

// load fills the volumes with what was kept.
func (w *warmth) load(ctx context.Context) error {
	n := w.unit
	if !slices.Equal(w.found.About.Volumes, w.targets()) {
		return errors.New("it is of other volumes")
	}
	tally, err := w.carrier.load(ctx, w.found.Dir)
	if err != nil {
		return err
	}
	if tally.Files != w.found.About.Files {
		return fmt.Errorf("it has %d files, not %d", tally.Files, w.found.About.Files)
	}
	n.emit(EventWarm, "as "+w.found.About.Made.Local().Format(time.DateTime)+" left it")
	return nil
}

// healthyAgain returns when the check has passed on what was kept.
func (w *warmth) healthyAgain(ctx context.Context) error {
	n := w.unit
	bound := max(warmLeast, warmPatience*w.found.About.Cold)
	ctx, cancel := context.WithTimeoutCause(ctx, bound, fmt.Errorf("it was not healthy within %s", bound))
	defer cancel()
	if err := n.checked(ctx); err != nil {
		return err
	}
	w.found.Hit()
	n.emit(EventHealthy, "")
	close(n.healthy)
	return nil
}

func (w *warmth) targets() []string {
	targets := make([]string, len(w.volumes))
	for i, v := range w.volumes {
		targets[i] = v.target
	}
	return targets
}

// startOver makes container and volumes anew after a state was of no use.
func (w *warmth) startOver(ctx context.Context) error {
	n, api := w.unit, w.unit.up.client.api
	ctx = context.WithoutCancel(ctx) // bounded by its requests; what is made must be known to undo
	if err := api.RemoveContainer(ctx, n.id, n.request.Name, 0); err != nil {
		return err
	}
	for _, v := range w.volumes {
		if v.key == "" {
			if err := w.remake(ctx, v); err != nil {
				return err
			}
			continue
		}
		if err := api.RemoveVolume(ctx, v.name); err != nil {
			return err
		}
		if err := n.up.volume(ctx, v.key, n.up.project.Volumes[v.key]); err != nil {
			return err
		}
	}
	n.nocopy(w.volumes, false)
	return n.make(ctx)
}

// launchCold starts the container, waits until it is healthy and keeps its volumes.
// An end of the container is left to those who watch it.
func (w *warmth) launchCold(ctx context.Context) error {
	n, start := w.unit, time.Now()
	if err := n.launch(ctx); err != nil {
		return err
	}
	err := n.checked(ctx)
	switch {
	case err == nil:
	case libpod.HasStatus(err, http.StatusConflict), libpod.HasStatus(err, http.StatusNotFound):
		return nil
	case errors.Is(err, errUnhealthy):
		n.emit(EventUnhealthy, err.Error())
		return err
	default:
		return err
	}
	return w.keep(ctx, time.Since(start))
}

// keep stops the container, so that its files are whole, copies its volumes and
// starts it again. It gives up with a warning when that fails: the service is the
// same as without it. Only a start that fails is an error.
func (w *warmth) keep(ctx context.Context, cold time.Duration) error {
	n, start := w.unit, time.Now()
	writing, err := w.store.Begin(n.up.options.Warm.Own, w.carrier.name()+"-"+w.key)
	if errors.Is(err, warm.ErrBusy) {
		return nil // another stack of the same kind keeps it
	}
	if err != nil {
		n.emit(EventWarning, "its data is not kept: "+err.Error())
		return nil
	}
	n.emit(EventKeeping, "its data for the next time")
	tally, err := w.save(ctx, writing.Dir)
	if ctx.Err() != nil {
		return errors.Join(context.Cause(ctx), writing.Abort())
	}
	if serr := n.up.client.start(ctx, n.id, n.request.Name, n.request.Labels); serr != nil {
		return errors.Join(serr, writing.Abort())
	}
	if err == nil {
		err = writing.Commit(warm.About{
			Service: n.name, Image: n.request.Image, Volumes: w.targets(), Files: tally.Files, Bytes: tally.Bytes, Cold: cold, Made: time.Now().UTC(),
		})
	} else {
		err = errors.Join(err, writing.Abort())
	}
	if err == nil {
		_, err = w.store.Prune()
	}
	if err != nil {
		n.emit(EventWarning, "its data is not kept: "+err.Error())
	}
	n.up.client.log.DebugContext(ctx, "data of a service kept", "service", n.name, "bytes", tally.Bytes, "took", time.Since(start))
	return nil
}

// save copies the volumes of the container, which it stops.
func (w *warmth) save(ctx context.Context, dir string) (warm.Tally, error) {
	n, api := w.unit, w.unit.up.client.api
	if err := api.StopContainer(ctx, n.id, n.request.Name, grace(n.service)); err != nil {
		return warm.Tally{}, err
	}
	answer, err := api.InspectContainer(ctx, n.id)
	switch {
	case err != nil:
		return warm.Tally{}, err
	case answer.State.ExitCode == killed || answer.State.OOMKilled:
		return warm.Tally{}, fmt.Errorf("it did not end within its grace period of %s", grace(n.service))
	case answer.Restarts > 0:
		return warm.Tally{}, errors.New("it had to be started more than once")
	}
	return w.carrier.save(ctx, dir, w.store.Size)
}
