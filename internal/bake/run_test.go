package bake

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/dockless-ci/dockless/internal/imagebuild"
)

// journal notes when builds begin and end.
type journal struct {
	mu       sync.Mutex
	lines    []string
	now, max int
	requests map[string]imagebuild.Request
}

func (j *journal) note(line string, change int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
	j.now += change
	j.max = max(j.max, j.now)
}

// build takes a second and fails for targets called bad.
func (j *journal) build(ctx context.Context, target string, r imagebuild.Request) (*imagebuild.Result, error) {
	j.note("begin "+target, 1)
	defer j.note("end "+target, -1)
	j.mu.Lock()
	if j.requests == nil {
		j.requests = make(map[string]imagebuild.Request)
	}
	j.requests[target] = r
	j.mu.Unlock()
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if target == "bad" {
		return nil, errors.New("no luck")
	}
	if target == "imageless" {
		return &imagebuild.Result{}, nil
	}
	return &imagebuild.Result{Digest: digest.FromString(target)}, nil
}

func TestATargetIsBuiltAfterItsBasesAndFromTheirImages(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	synctest.Test(t, func(t *testing.T) {
		var j journal
		store := imagebuild.Output{Type: "oci", Dest: "own", Attrs: map[string]string{"tar": "false"}}
		results, err := Run(t.Context(), []Build{
			{Target: "app", Links: map[string]string{"base": "mid", "tools": "store"}, Request: imagebuild.Request{Contexts: map[string]string{"src": "src"}}},
			{Target: "mid", Links: map[string]string{"x": "leaf"}},
			{Target: "leaf"},
			{Target: "store", Request: imagebuild.Request{Outputs: []imagebuild.Output{store}}},
			{Target: "alone"},
		}, j.build)
		if err != nil {
			t.Fatal(err)
		}
		if len(results) != 5 || results["leaf"].Digest != digest.FromString("leaf") {
			t.Errorf("results = %v, want those of five targets", results)
		}
		before := func(a, b string) {
			if slices.Index(j.lines, a) > slices.Index(j.lines, b) {
				t.Errorf("%q comes after %q: %v", a, b, j.lines)
			}
		}
		before("end leaf", "begin mid")
		before("end mid", "begin app")
		before("end store", "begin app")
		before("begin alone", "end leaf")
		app := j.requests["app"]
		if base, ok := strings.CutPrefix(app.Contexts["base"], "oci-layout://"+dir); !ok || !strings.HasSuffix(base, "/mid@"+digest.FromString("mid").String()) {
			t.Errorf("the context base = %q, want the image of mid in a layout below %s", app.Contexts["base"], dir)
		}
		if got, want := app.Contexts["tools"], "oci-layout://own@"+digest.FromString("store").String(); got != want {
			t.Errorf("the context tools = %q, want the target's own layout %q", got, want)
		}
		if app.Contexts["src"] != "src" || app.Layout != "" || j.requests["store"].Layout != "" || filepath.Base(j.requests["mid"].Layout) != "mid" {
			t.Errorf("requests = %+v", j.requests)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
}

func TestTheImagesOfAKilledBakeAreRemovedByTheNext(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	left := filepath.Join(dir, "dockless-images-123")
	if err := os.MkdirAll(filepath.Join(left, "base", "blobs"), 0o700); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(left, old, old); err != nil {
		t.Fatal(err)
	}
	builds := []Build{{Target: "app", Links: map[string]string{"x": "base"}}, {Target: "base"}}
	_, err := Run(t.Context(), builds, func(ctx context.Context, target string, r imagebuild.Request) (*imagebuild.Result, error) {
		if target == "base" {
			// Another bake, when this one is old.
			own := filepath.Dir(r.Layout)
			none := func(context.Context, string, imagebuild.Request) (*imagebuild.Result, error) {
				return &imagebuild.Result{Digest: digest.FromString("none")}, nil
			}
			if err := os.Chtimes(own, old, old); err != nil {
				return nil, err
			}
			if _, err := Run(ctx, builds, none); err != nil {
				return nil, err
			}
			if _, err := os.Stat(own); err != nil {
				t.Errorf("the images of a bake that runs: %v", err)
			}
		}
		return &imagebuild.Result{Digest: digest.FromString(target)}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if there, err := os.ReadDir(dir); err != nil || len(there) > 0 {
		t.Errorf("left behind: %v, %v", there, err)
	}
}

func TestNoMoreTargetsAreBuiltAtATimeThanTheBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var (
			j      journal
			builds []Build
		)
		for i := range 3 * MaxParallel {
			builds = append(builds, Build{Target: strings.Repeat("x", i+1)})
		}
		if _, err := Run(t.Context(), builds, j.build); err != nil {
			t.Fatal(err)
		}
		if j.max != MaxParallel {
			t.Errorf("targets at a time = %d, want %d", j.max, MaxParallel)
		}
	})
}

func TestTheFirstFailureIsTheCauseOfTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cause error
		_, err := Run(t.Context(), []Build{{Target: "bad"}, {Target: "slow"}, {Target: "later", Links: map[string]string{"x": "slow"}}},
			func(ctx context.Context, target string, r imagebuild.Request) (*imagebuild.Result, error) {
				if target != "slow" {
					return new(journal).build(ctx, target, r)
				}
				<-ctx.Done()
				cause = context.Cause(ctx)
				return nil, cause
			})
		if err == nil || err.Error() != "target bad: no luck" || cause == nil || cause.Error() != err.Error() {
			t.Errorf("error = %v, cause for the other = %v, want that of bad for both", err, cause)
		}
	})
}

func TestATargetWithoutAnImageIsNoBase(t *testing.T) {
	_, err := Run(t.Context(), []Build{{Target: "app", Links: map[string]string{"x": "imageless"}}, {Target: "imageless"}}, new(journal).build)
	if err == nil || !strings.Contains(err.Error(), "imageless has no image") {
		t.Errorf("error = %v, want that imageless has no image", err)
	}
}
