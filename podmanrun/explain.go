package podmanrun

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// explainTimeout bounds the questions about a service that failed; the answer
// is worth a few seconds, not more.
const explainTimeout = 10 * time.Second

// waitTimeoutError is the cause of a start that took longer than it may.
type waitTimeoutError struct{ after time.Duration }

func (e *waitTimeoutError) Error() string {
	return fmt.Sprintf("the stack was not up within %s", e.after)
}

// explain turns what ended a start into the error of the service behind it, which
// says the cause in our words, with its last words and the services that waited.
func (u *up) explain(ctx context.Context, err error) error {
	failed, ok := errors.AsType[*ServiceError](err)
	if !ok {
		timeout, ok := errors.AsType[*waitTimeoutError](err)
		if !ok {
			return fmt.Errorf("starting project %s: %w", u.project.Name, err)
		}
		failed = u.slowest(timeout)
	}
	failed.Chain = waitingFor(u.project, failed.Service, func(name string) bool {
		return !slices.ContainsFunc(u.units[name], func(n *unit) bool { return passed(n.running) })
	})
	u.detail(ctx, failed)
	return failed
}

// detail asks Podman about a failure, while what failed is still there.
func (u *up) detail(ctx context.Context, failed *ServiceError) {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), explainTimeout, errors.New("podman did not answer"))
	defer cancel()
	if shared, ok := errors.AsType[*groundError](failed.Err); ok {
		// Every service waits for it; of these the first, so that it is always the same.
		failed.Service, failed.Replica = u.firstOn(shared, failed.Service), 0
		failed.Chain = []string{failed.Service}
		said := *shared // it is the error of every service that waits for it
		failed.Kind, said.err = u.read(ctx, shared.err)
		failed.Err = &said
		return
	}
	if failed.Kind == "" {
		failed.Kind, failed.Err = u.read(ctx, failed.Err)
	}
	units := u.units[failed.Service]
	if len(units) == 0 {
		return
	}
	n := units[min(max(failed.Replica, 1), len(units))-1]
	if failed.Kind == FailurePlatform && n.image != nil {
		failed.Err = n.wrongPlatform(ctx, failed.Err)
	}
	if !passed(n.created) {
		return
	}
	failed.Logs = u.client.api.LastLines(ctx, n.id, n.request.Name, errorLines)
	answer, err := u.client.api.InspectContainer(ctx, n.id)
	if err != nil {
		return
	}
	if failed.Exited {
		var text string
		failed.Kind, text = endOf(failed.Code, answer.State.OOMKilled, n.request)
		failed.Err = because(failed.Err, "%s", strings.Replace(failed.Err.Error(), endText(failed.Code), text, 1))
		if slices.ContainsFunc(failed.Logs, func(line string) bool { return strings.Contains(strings.ToLower(line), "exec format error") }) {
			failed.Kind, failed.Err = FailurePlatform, n.wrongPlatform(ctx, failed.Err)
		}
	}
	if n.health != nil && !passed(n.healthy) && passed(n.running) {
		n.lastHealth(ctx, failed, answer.State.Health)
	}
}

// lastHealth says what the last check said. One that Podman keeps no word of said
// nothing, or could not be run.
func (n *unit) lastHealth(ctx context.Context, failed *ServiceError, state libpod.HealthState) {
	if len(state.Log) > 0 {
		failed.Health = state.Log[len(state.Log)-1].Output
	}
	if failed.Kind != FailureUnhealthy {
		return
	}
	if strings.TrimSpace(failed.Health) == "" && n.request.HealthConfig != nil {
		failed.Health = n.tryCheck(ctx)
	}
	if said := lastLine(failed.Health); said != "" {
		failed.Err = because(failed.Err, "%v; the last one said: %s", failed.Err, said)
	}
}

// tryCheck starts the command of a healthcheck once more, for what Podman says when
// that cannot be done: of a check it keeps no word then.
func (n *unit) tryCheck(ctx context.Context) string {
	test := n.request.HealthConfig.Test
	switch {
	case len(test) < 2:
		return ""
	case test[0] == "CMD":
		test = test[1:]
	case test[0] == "CMD-SHELL":
		test = []string{"/bin/sh", "-c", strings.Join(test[1:], " ")}
	}
	err := n.up.client.api.ExecDetached(ctx, n.id, n.request.Name, libpod.ExecRequest{Cmd: test})
	if status, ok := errors.AsType[*libpod.StatusError](err); ok {
		return "it cannot be run: " + oneLine(status.Message)
	}
	return ""
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// errPlatform means that an image is for another machine than the one it is for.
var errPlatform = errors.New("the image is for another platform")

// wrongPlatform says for which machine the image is and on which it was to run.
func (n *unit) wrongPlatform(ctx context.Context, err error) error {
	its, here := n.image.Platform(), n.up.client.api.Machine(ctx).Platform
	if its == "" || here == "" || its == here {
		return err
	}
	err = because(err, "image %s is %s, this Podman runs %s (%v)", imageName(n.up.project, n.service), its, here, err)
	return hint.With(err, "use an image for %s, or register an emulator on Podman's machine, for example with qemu-user-static", here)
}

// slowest blames the service that runs but is not ready, or else the one whose
// image or container did not come.
func (u *up) slowest(timeout *waitTimeoutError) *ServiceError {
	names := slices.Sorted(maps.Keys(u.units))
	blame := func(reason string, guilty func(*unit) bool) *ServiceError {
		for _, name := range names {
			if i := slices.IndexFunc(u.units[name], func(n *unit) bool { return !passed(n.lost) && guilty(n) }); i >= 0 {
				return &ServiceError{
					Project: u.project.Name, Service: name, Replica: u.units[name][i].number(),
					Kind: FailureTimeout, Err: because(timeout, "%s within %s", reason, timeout.after),
				}
			}
		}
		return nil
	}
	for _, b := range []struct {
		reason string
		guilty func(*unit) bool
	}{
		{"it was not healthy", func(n *unit) bool {
			return passed(n.launched) && !n.leftAlone() && n.health != nil && !passed(n.healthy) && !passed(n.completed)
		}},
		{"it did not end", func(n *unit) bool { return passed(n.running) && n.completes && !passed(n.completed) }},
		{"its networks and volumes were not there", func(n *unit) bool { return !passed(n.grounded) }},
		{"its container was not created", func(n *unit) bool { return !passed(n.created) }},
		{"its hooks after the start did not end", func(n *unit) bool { return passed(n.launched) && !passed(n.running) }},
		{"it was not running", func(n *unit) bool { return !passed(n.running) }},
	} {
		if e := blame(b.reason, b.guilty); e != nil {
			return e
		}
	}
	return &ServiceError{Project: u.project.Name, Service: names[0], Kind: FailureTimeout, Err: timeout}
}
