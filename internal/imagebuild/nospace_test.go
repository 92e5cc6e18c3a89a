package imagebuild

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/moby/buildkit/client"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/internal/hint"
)

func TestABuildThatRanOutOfDiskMakesRoomAndSaysSo(t *testing.T) {
	for name, test := range map[string]struct {
		err, printed string
		want         bool
	}{
		"a copy":                {err: "failed to copy files: write /x: no space left on device", want: true},
		"a quota":               {err: "write /x: disk quota exceeded", want: true},
		"a step that said so":   {err: "exit code: 1", printed: "cp: error writing 'x': No space left on device\n", want: true},
		"npm":                   {err: "exit code: 228", printed: "npm error code ENOSPC\n", want: true},
		"a step that failed":    {err: "exit code: 1", printed: "test failed\n"},
		"a message of the user": {err: "no space for this", printed: "space left\n"},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			o := Options{Full: func(context.Context, buildxsetup.Node) string { asked++; return "3GB of cache were removed" }}
			var w spaceWatch
			w.see(&client.SolveStatus{Logs: []*client.VertexLog{{Data: []byte(test.printed)}}})
			cause := errors.New(test.err)
			err := o.relieve(t.Context(), buildxsetup.Node{}, &w, cause)
			if !errors.Is(err, cause) || err.Error() != test.err {
				t.Errorf("relieve() = %v, want the error itself", err)
			}
			hints := strings.Join(hint.All(err), "\n")
			if test.want != (asked == 1) || test.want != strings.Contains(hints, "3GB") || test.want != strings.Contains(hints, "builder prune") {
				t.Errorf("room was made %d times, hints %q, want that %v", asked, hints, test.want)
			}
		})
	}
	if err := (Options{}).relieve(t.Context(), buildxsetup.Node{}, &spaceWatch{}, nil); err != nil {
		t.Errorf("relieve of a build that succeeded = %v", err)
	}
}
