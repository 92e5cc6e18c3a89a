package runner_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/explain"
	"github.com/dockless-ci/dockless/internal/imagebuild"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner"
)

// BuildKit tells of a step before it tells of those that it builds on.
func TestTheWaterfallOfABuildRunsDownwards(t *testing.T) {
	began := time.Unix(1000, 0)
	ran := func(name string, after, took time.Duration) imagebuild.Step {
		return imagebuild.Step{Name: name, Ran: true, Started: began.Add(after), Duration: took}
	}
	base := ran("[a 1/9] FROM x", 0, time.Second)
	base.Base = true
	got := runner.Waterfall(&imagebuild.Result{
		Steps: []imagebuild.Step{
			{Name: "[a 9/9] not needed"},
			ran("[a 5/5] RUN c", 3*time.Second, time.Second), ran("[a 4/5] RUN b", 1500*time.Millisecond, time.Second),
			{Name: "[a 3/5] COPY", Cached: true},
			{Name: "[a 2/5] RUN a", Cached: true},
			base,
		},
		Reasons: []explain.Reason{{Text: "of c"}, {Text: "of b"}},
	})
	want := []job.BuildStep{
		{Name: "[a 2/5] RUN a", Cached: true},
		{Name: "[a 3/5] COPY", Cached: true},
		{Name: "[a 4/5] RUN b", Start: 1.5, Seconds: 1, Reason: "of b"},
		{Name: "[a 5/5] RUN c", Start: 3, Seconds: 1, Reason: "of c"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("waterfall (-want +got):\n%s", diff)
	}
	if got := runner.Waterfall(&imagebuild.Result{Steps: []imagebuild.Step{ran("[1/1] RUN x", 0, 1)}}); len(got) != 1 || got[0].Reason != "" {
		t.Errorf("without reasons: %+v", got)
	}
}
