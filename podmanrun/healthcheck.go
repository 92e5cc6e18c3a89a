package podmanrun

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/dockless-ci/dockless/internal/retry"
	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// What a healthcheck that leaves fields out gets; Docker's values, which images
// are written for.
const (
	defaultInterval = 30 * time.Second
	defaultTimeout  = 30 * time.Second
	defaultRetries  = 3
)

const (
	// firstPause lies between the first two checks of a starting service. A
	// check costs one runtime exec, about 60 ms of CPU.
	firstPause = 100 * time.Millisecond
	// startPause is the longest pause while a service starts within seconds.
	startPause = 200 * time.Millisecond
	// patience is the part of the waiting time so far that one pause may take
	// when a start takes long: a minute's wait is lengthened by 3 s at most.
	patience = 20
)

// healthConfig adds our timing to a healthcheck as images and containers store it.
type healthConfig libpod.HealthConfig

// errUnhealthy means that a healthcheck failed as often as it may.
var errUnhealthy = errors.New("unhealthy")

// healthOf returns the check of a service: its own, the image's, or none.
func healthOf(s types.ServiceConfig, image *healthConfig) *healthConfig {
	var h healthConfig
	if image != nil {
		h = *image
	}
	if own := s.HealthCheck; own != nil {
		if own.Disable {
			return nil
		}
		if len(own.Test) > 0 {
			h.Test = own.Test
		}
		set := func(to *time.Duration, from *types.Duration) {
			if from != nil {
				*to = time.Duration(*from)
			}
		}
		set(&h.Interval, own.Interval)
		set(&h.Timeout, own.Timeout)
		set(&h.StartPeriod, own.StartPeriod)
		set(&h.StartInterval, own.StartInterval)
		if own.Retries != nil {
			h.Retries = int(*own.Retries) //nolint:gosec // a number of tries
		}
	}
	if len(h.Test) == 0 || h.Test[0] == "NONE" || h.Test[0] == "" {
		return nil
	}
	return h.withDefaults()
}

func (h healthConfig) withDefaults() *healthConfig {
	if h.Interval <= 0 {
		h.Interval = defaultInterval
	}
	if h.Timeout <= 0 {
		h.Timeout = defaultTimeout
	}
	if h.Retries <= 0 {
		h.Retries = defaultRetries
	}
	return &h
}

// addHealth makes the container carry check h. Podman gets it without an
// interval, which keeps it from starting a systemd timer, and with a start
// period that covers every tolerated failure, because Podman counts each of our
// frequent checks as one of its own. The real timing is kept in a label.
func (r *createRequest) addHealth(h, image *healthConfig) {
	r.HealthConfig = nil
	delete(r.Labels, labelCheck) // of another image's check
	if h == nil {
		if image != nil {
			r.HealthConfig = &libpod.HealthConfig{Test: []string{"NONE"}}
		}
		return
	}
	data, _ := json.Marshal(h) // strings and numbers always encode
	r.Labels[labelCheck] = string(data)
	r.HealthConfig = &libpod.HealthConfig{Test: h.Test, Timeout: h.Timeout, Retries: h.Retries, StartPeriod: h.deadline()}
}

// checkFrom reads the label that addHealth wrote; nil is no check.
func checkFrom(labels map[string]string) *healthConfig {
	var h healthConfig
	if json.Unmarshal([]byte(labels[labelCheck]), &h) != nil || len(h.Test) == 0 {
		return nil
	}
	return h.withDefaults()
}

// deadline is the age at which a service that never passed its check is unhealthy.
func (h *healthConfig) deadline() time.Duration {
	return h.StartPeriod + time.Duration(h.Retries)*h.Interval
}

// untilHealthy runs check until it passes. It looks often, so that a start is
// noticed soon, but counts failures as the healthcheck is written: none within
// the start period of a service started at started, then one per interval.
// After Retries of them it returns errUnhealthy. A start interval that is shorter
// than our own pauses is kept to. An error of check ends it.
func (h *healthConfig) untilHealthy(ctx context.Context, started time.Time, check func(context.Context) (bool, error)) error {
	failures, counted := 0, started
	pause := min(firstPause, h.Interval)
	if own := h.StartInterval; own > 0 {
		pause = min(pause, own)
	}
	for checks := 1; ; checks++ {
		began := time.Now()
		healthy, err := check(ctx)
		if err != nil || healthy {
			return err
		}
		if began.Sub(started) >= h.StartPeriod && began.Sub(counted) >= h.Interval {
			failures, counted = failures+1, began
		}
		if failures >= h.Retries {
			return fmt.Errorf("%w: the healthcheck failed for %s, %d times in a row", errUnhealthy, began.Sub(started).Round(time.Second), checks)
		}
		// A check that is slow itself must not keep a core busy.
		if err := retry.Wait(ctx, max(pause, min(time.Since(began), h.Interval))); err != nil {
			return err
		}
		longest := max(startPause, time.Since(started)/patience)
		if own := h.StartInterval; own > 0 {
			longest = min(longest, own)
		}
		pause = min(pause*3/2, longest, h.Interval)
	}
}

// keepChecking runs check at its own interval until ctx ends, and calls changed
// when the state turns. It starts from what the service is.
func (h *healthConfig) keepChecking(ctx context.Context, healthy bool, check func(context.Context) (bool, error), changed func(healthy bool)) error {
	failures := 0
	for {
		if err := retry.Wait(ctx, h.Interval); err != nil {
			return err
		}
		ok, err := check(ctx)
		if err != nil {
			return err
		}
		if ok {
			failures = 0
		} else {
			failures++
		}
		if turned := ok || failures < h.Retries && healthy; turned != healthy {
			healthy = turned
			changed(healthy)
		}
	}
}
