package buildcmd

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// step is a status of one step, in seconds from a start; zero is not yet.
func step(name string, started, completed int, cached bool) *client.SolveStatus {
	v := &client.Vertex{Digest: digest.FromString(name), Name: "[2/2] RUN " + name, Cached: cached}
	at := func(seconds int) *time.Time {
		if seconds == 0 {
			return nil
		}
		when := time.Unix(1_000_000+int64(seconds), 0)
		return &when
	}
	v.Started, v.Completed = at(started), at(completed)
	return &client.SolveStatus{
		Vertexes: []*client.Vertex{v},
		Logs:     []*client.VertexLog{{Vertex: v.Digest, Stream: 1, Data: []byte("said by " + name + "\n"), Timestamp: time.Unix(1_000_001, 0)}},
	}
}

func TestAStepThatTargetsHaveInCommonIsShownOnce(t *testing.T) {
	d := &bakeDisplay{shown: make(map[digest.Digest]shownStep)}
	for _, c := range []struct {
		what, target string
		status       *client.SolveStatus
		want         string // name on the display; empty is not shown
	}{
		{"the first target is told", "app", step("common", 1, 0, false), "[app 2/2] RUN common"},
		{"the second is told as well", "lint", step("common", 1, 0, false), ""},
		{"it completes for the first", "app", step("common", 1, 2, false), "[app 2/2] RUN common"},
		{"it completes for the second", "lint", step("common", 1, 2, false), ""},
		{"the second is told again, as cached", "lint", step("common", 3, 3, true), ""},
		{"the second runs it again", "lint", step("common", 5, 6, false), "[lint 2/2] RUN common"},
		{"the first is told of one that it leaves open", "app", step("open", 1, 0, false), "[app 2/2] RUN open"},
		{"the second completes it", "lint", step("open", 1, 4, false), "[lint 2/2] RUN open"},
	} {
		if strings.HasPrefix(c.what, "the second completes") {
			d.ended("app")
		}
		got := d.part(c.target, c.status)
		name := ""
		if len(got.Vertexes) > 0 {
			name = got.Vertexes[0].Name
		}
		if name != c.want || len(got.Logs) != len(got.Vertexes) {
			t.Errorf("%s: shown as %q with %d logs, want %q", c.what, name, len(got.Logs), c.want)
		}
	}
}

func TestOneTargetIsShownAsABuild(t *testing.T) {
	var out strings.Builder
	d, err := newBakeDisplay(t.Context(), &out, "plain", false)
	if err != nil {
		t.Fatal(err)
	}
	d.observe("app")(step("alone", 1, 2, false))
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "[2/2] RUN alone") || strings.Contains(out.String(), "app") {
		t.Errorf("shown:\n%s", out.String())
	}
	if _, err := newBakeDisplay(t.Context(), &out, "loud", false); err == nil {
		t.Error("a form of progress that does not exist was taken")
	}
	if got, want := ofTarget("app", "exporting to image"), "[app] exporting to image"; got != want {
		t.Errorf("a step without brackets = %q, want %q", got, want)
	}
}
