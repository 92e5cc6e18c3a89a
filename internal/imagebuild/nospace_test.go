package imagebuild

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/client"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/internal/hint"
)

func TestABuildThatRanOutOfDiskMakesRoomAndSaysSo(t *testing.T) {
	const (
		step  = `process "/bin/sh -c cp /a /b" did not complete successfully: exit code: 1`
		quote = `process "/bin/sh -c echo no space left on device; false" did not complete successfully: exit code: 1`
	)
	for name, test := range map[string]struct {
		err, printed string
		want, sure   bool
	}{
		"a copy":                {err: "failed to copy files: write /x: no space left on device", want: true, sure: true},
		"a quota":               {err: "write /x: disk quota exceeded", want: true, sure: true},
		"a step that said so":   {err: step, printed: "cp: error writing 'x': No space left on device\n", want: true},
		"npm":                   {err: step, printed: "npm error code ENOSPC\n", want: true},
		"a command that is it":  {err: quote, want: true},
		"a step that failed":    {err: step, printed: "test failed\n"},
		"a message of the user": {err: "no space for this", printed: "space left\n"},
	} {
		for _, roomy := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " roomy ", roomy), func(t *testing.T) {
				var asked []bool
				o := Options{Full: func(_ context.Context, _ buildxsetup.Node, sure bool) (string, bool) {
					asked = append(asked, sure)
					return "that is how it went", roomy
				}}
				var w spaceWatch
				w.see(&client.SolveStatus{Logs: []*client.VertexLog{{Data: []byte(test.printed)}}})
				cause := errors.New(test.err)
				err := o.relieve(t.Context(), buildxsetup.Node{}, &w, cause)
				if !errors.Is(err, cause) || err.Error() != test.err {
					t.Errorf("relieve() = %v, want the error itself", err)
				}
				var want []bool
				if test.want {
					want = []bool{test.sure}
				}
				if !slices.Equal(asked, want) {
					t.Errorf("asked %v, want %v", asked, want)
				}
				hints := strings.Join(hint.All(err), "\n")
				if test.want != strings.Contains(hints, "that is how it went") || (test.want && !roomy) != strings.Contains(hints, "the disk of the builder") || test.want != strings.Contains(hints, "/dev/shm") {
					t.Errorf("the hints are %q", hints)
				}
			})
		}
	}
	// What the watch stopped is sure, and has hints of its own.
	o := Options{Full: func(_ context.Context, _ buildxsetup.Node, sure bool) (string, bool) {
		return fmt.Sprint("sure: ", sure), false
	}}
	err := o.relieve(t.Context(), buildxsetup.Node{}, &spaceWatch{}, fmt.Errorf("building: %w", &buildxsetup.FullError{}))
	if got := hint.All(err); !slices.Equal(got, []string{"sure: true"}) {
		t.Errorf("the hints of a build that was stopped are %q", got)
	}
	if err := (Options{}).relieve(t.Context(), buildxsetup.Node{}, &spaceWatch{}, nil); err != nil {
		t.Errorf("relieve of a build that succeeded = %v", err)
	}
}
