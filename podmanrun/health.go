package podmanrun

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/dockless-ci/dockless/internal/retry"
	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// Health is the state of a container's healthcheck.
type Health string

// The states, in Podman's and Docker's words.
const (
	HealthStarting  Health = "starting"
	HealthHealthy   Health = "healthy"
	HealthUnhealthy Health = "unhealthy"
)

// restartLook is how often a container that has ended is looked at: it may be
// started again, by its restart policy or by somebody.
const restartLook = time.Second

// FollowHealth runs the healthcheck of a container at its own timing, because
// Podman has no timer for it without systemd, and tells changed what it has
// become: starting first. A service that starts is looked at more often than
// its interval, and is healthy at once when it passes; failures count as the
// healthcheck is written. FollowHealth returns nil when the container has no
// healthcheck, has one that a stack follows, or is gone, and otherwise when ctx
// ends. Calls of changed do not overlap.
func (c *Client) FollowHealth(ctx context.Context, container string, changed func(Health)) error {
	for {
		answer, err := c.api.InspectContainer(ctx, container)
		if libpod.HasStatus(err, http.StatusNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("following the health of container %s: %w", container, err)
		}
		if answer.Config.Labels[labelCheck] != "" {
			return nil
		}
		h := answer.Config.Healthcheck
		if h == nil || len(h.Test) == 0 || h.Test[0] == "NONE" || h.Test[0] == "" {
			return nil
		}
		if answer.State.Running {
			changed(HealthStarting)
			err := c.follow(ctx, answer, healthConfig(*h).withDefaults(), changed)
			if !libpod.HasStatus(err, http.StatusConflict) && !libpod.HasStatus(err, http.StatusNotFound) {
				return err
			}
		}
		if err := retry.Wait(ctx, restartLook); err != nil {
			return err
		}
	}
}

// follow runs check h until the container has ended, which is an error with
// status 409 or 404.
func (c *Client) follow(ctx context.Context, answer *libpod.Container, h *healthConfig, changed func(Health)) error {
	check := func(ctx context.Context) (bool, error) {
		healthy, _, err := c.api.CheckContainer(ctx, answer.ID, answer.Name, h.Timeout)
		return healthy, err
	}
	err := h.untilHealthy(ctx, time.Now(), check)
	healthy := err == nil
	switch {
	case healthy:
		changed(HealthHealthy)
	case errors.Is(err, errUnhealthy):
		changed(HealthUnhealthy)
	default:
		return err
	}
	return h.keepChecking(ctx, healthy, check, func(healthy bool) {
		if healthy {
			changed(HealthHealthy)
		} else {
			changed(HealthUnhealthy)
		}
	})
}
