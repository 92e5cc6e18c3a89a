package podmanrun

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

func TestAServiceIsHealthySoonAfterItsCheckPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := healthConfig{Interval: 30 * time.Second, Retries: 3, Timeout: time.Second}
		start := time.Now()
		err := h.untilHealthy(t.Context(), start, func(context.Context) (bool, error) {
			return time.Since(start) >= 4*time.Second, nil
		})
		if late := time.Since(start) - 4*time.Second; err != nil || late > startPause {
			t.Errorf("untilHealthy = %v, %s after the check would pass, want nil within %s", err, late, startPause)
		}
	})
}

func TestFailuresAreCountedAsTheHealthcheckIsWritten(t *testing.T) {
	for name, c := range map[string]struct {
		check healthConfig
		want  time.Duration
	}{
		"one per interval":               {healthConfig{Interval: 5 * time.Second, Retries: 3}, 15 * time.Second},
		"none in the start period":       {healthConfig{Interval: 5 * time.Second, Retries: 3, StartPeriod: 20 * time.Second}, 30 * time.Second},
		"a start period of one interval": {healthConfig{Interval: 5 * time.Second, Retries: 1, StartPeriod: 5 * time.Second}, 5 * time.Second},
		"an interval below our pause":    {healthConfig{Interval: 50 * time.Millisecond, Retries: 4}, 200 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				err := c.check.untilHealthy(t.Context(), start, func(context.Context) (bool, error) { return false, nil })
				if !errors.Is(err, errUnhealthy) {
					t.Errorf("untilHealthy = %v, want %v", err, errUnhealthy)
				}
				if took := time.Since(start); took < c.want || took > c.want+c.want/4 {
					t.Errorf("untilHealthy gave up after %s, want %s and at most a quarter more", took, c.want)
				}
			})
		})
	}
}

func TestASlowCheckIsNotRunBackToBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := healthConfig{Interval: 10 * time.Second, Retries: 2}
		busy, start := time.Duration(0), time.Now()
		_ = h.untilHealthy(t.Context(), start, func(context.Context) (bool, error) {
			time.Sleep(2 * time.Second)
			busy += 2 * time.Second
			return false, nil
		})
		if total := time.Since(start); busy > total*6/10 {
			t.Errorf("the check was busy for %s of %s, want about half", busy, total)
		}
	})
}

func TestTheEndOfTheWaitEndsTheCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := errors.New("told to stop")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 7*time.Second, stop)
		defer cancel()
		h := healthConfig{Interval: time.Minute, Retries: 3}
		if err := h.untilHealthy(ctx, time.Now(), func(context.Context) (bool, error) { return false, nil }); !errors.Is(err, stop) {
			t.Errorf("untilHealthy = %v, want %v", err, stop)
		}
	})
}

func TestAWatchedServiceTurnsAfterItsRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := healthConfig{Interval: time.Second, Retries: 2}
		answers := []bool{true, false, true, false, false, false, true, true}
		var turns []string
		start := time.Now()
		done := errors.New("no more answers")
		err := h.keepChecking(t.Context(), true, func(context.Context) (bool, error) {
			if len(answers) == 0 {
				return false, done
			}
			healthy := answers[0]
			answers = answers[1:]
			return healthy, nil
		}, func(healthy bool) {
			turns = append(turns, time.Since(start).String()+map[bool]string{true: " healthy", false: " unhealthy"}[healthy])
		})
		if !errors.Is(err, done) {
			t.Errorf("keepChecking = %v, want %v", err, done)
		}
		if diff := cmp.Diff([]string{"5s unhealthy", "7s healthy"}, turns); diff != "" {
			t.Errorf("turns differ (-want +got):\n%s", diff)
		}
	})
}

func TestTheHealthcheckOfAServiceOverridesTheImages(t *testing.T) {
	second := types.Duration(time.Second)
	image := &healthConfig{Test: []string{"CMD", "ping"}, Interval: time.Minute, Retries: 7}
	for name, c := range map[string]struct {
		own   *types.HealthCheckConfig
		image *healthConfig
		want  *healthConfig
	}{
		"neither":        {nil, nil, nil},
		"image":          {nil, image, &healthConfig{Test: []string{"CMD", "ping"}, Interval: time.Minute, Timeout: defaultTimeout, Retries: 7}},
		"disabled":       {&types.HealthCheckConfig{Disable: true}, image, nil},
		"NONE":           {&types.HealthCheckConfig{Test: []string{"NONE"}}, image, nil},
		"image's NONE":   {nil, &healthConfig{Test: []string{"NONE"}}, nil},
		"timing only":    {&types.HealthCheckConfig{Interval: &second}, image, &healthConfig{Test: []string{"CMD", "ping"}, Interval: time.Second, Timeout: defaultTimeout, Retries: 7}},
		"timing of none": {&types.HealthCheckConfig{Interval: &second}, nil, nil},
		"own":            {&types.HealthCheckConfig{Test: []string{"CMD-SHELL", "x"}}, nil, &healthConfig{Test: []string{"CMD-SHELL", "x"}, Interval: defaultInterval, Timeout: defaultTimeout, Retries: defaultRetries}},
	} {
		t.Run(name, func(t *testing.T) {
			got := healthOf(types.ServiceConfig{ContainerSpec: types.ContainerSpec{}, WorkloadSpec: types.WorkloadSpec{HealthCheck: c.own}}, c.image)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("healthOf differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheTimingOfACheckSurvivesInTheLabels(t *testing.T) {
	h := (&healthConfig{Test: []string{"CMD", "x"}, Interval: 2 * time.Second, StartPeriod: time.Second}).withDefaults()
	r := &createRequest{CreateRequest: libpod.CreateRequest{Labels: map[string]string{}}}
	r.addHealth(h, nil)
	if diff := cmp.Diff(h, checkFrom(r.Labels)); diff != "" {
		t.Errorf("the check read from the labels differs (-want +got):\n%s", diff)
	}
	if r.HealthConfig.Interval != 0 {
		t.Errorf("Podman gets the interval %s, want none, so that it starts no timer", r.HealthConfig.Interval)
	}
}

func TestAStartIntervalBelowOurPauseIsKeptTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := healthConfig{Interval: 30 * time.Second, Retries: 1, StartInterval: 20 * time.Millisecond}
		checks, last, longest := 0, time.Now(), time.Duration(0)
		err := h.untilHealthy(t.Context(), time.Now(), func(context.Context) (bool, error) {
			longest = max(longest, time.Since(last))
			last = time.Now()
			checks++
			return checks == 100, nil
		})
		if err != nil || longest > h.StartInterval {
			t.Errorf("untilHealthy = %v with pauses of up to %s, want at most %s", err, longest, h.StartInterval)
		}
	})
}

func TestTheFirstCheckIsRunAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_ = healthConfig{Interval: time.Hour}.withDefaults().untilHealthy(t.Context(), start, func(context.Context) (bool, error) {
			if waited := time.Since(start); waited != 0 {
				t.Errorf("the first check came after %s", waited)
			}
			return true, nil
		})
	})
}
