package imagebuild

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
)

func at(sec int) *time.Time {
	t := time.Unix(int64(sec), 0)
	return &t
}

func vertex(id, name string, started, completed *time.Time, cached bool, inputs ...digest.Digest) *client.SolveStatus {
	return &client.SolveStatus{Vertexes: []*client.Vertex{{Digest: digest.Digest(id), Name: name, Started: started, Completed: completed, Cached: cached, Inputs: inputs}}}
}

func TestStepsAreCountedOnceAndBaseImagesNotAtAll(t *testing.T) {
	r := newRecorder()
	for _, s := range []*client.SolveStatus{
		vertex("int", "[internal] load build definition from Dockerfile", at(1), at(2), false),
		vertex("imp", "importing cache manifest from reg/c:main", at(1), at(2), false),
		vertex("from", "[build 1/3] FROM docker.io/library/busybox", at(1), at(2), false),
		vertex("copy", "[build 2/3] COPY . .", nil, nil, false, "from"),
		vertex("copy", "[build 2/3] COPY . .", at(2), nil, false, "from"),
		vertex("copy", "[build 2/3] COPY . .", at(2), at(4), false, "from"),
		vertex("copy", "[build 2/3] COPY . .", at(5), nil, false, "from"),
		vertex("run", "[linux/amd64 build 3/3] RUN true", at(4), at(4), true, "copy"),
		vertex("run", "[linux/amd64 build 3/3] RUN true", at(5), at(9), false), // its layers are fetched
		vertex("skip", "[2/2] RUN never", nil, nil, false, "run"),
		vertex("exp", "exporting to image", at(9), at(10), false),
	} {
		r.add(s)
	}
	want := []Step{
		{Vertex: "from", Name: "[build 1/3] FROM docker.io/library/busybox", Base: true, Ran: true, Started: *at(1), Duration: time.Second},
		{Vertex: "copy", Name: "[build 2/3] COPY . .", Inputs: []digest.Digest{"from"}, Ran: true, Started: *at(2), Duration: 2 * time.Second},
		{Vertex: "run", Name: "[linux/amd64 build 3/3] RUN true", Inputs: []digest.Digest{"copy"}, Cached: true},
		{Vertex: "skip", Name: "[2/2] RUN never", Inputs: []digest.Digest{"run"}},
	}
	if diff := cmp.Diff(want, r.steps()); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	if got := count(r.steps()); got != (Stats{Steps: 2, Cached: 1}) {
		t.Errorf("count = %+v, want 2 steps, 1 of them cached", got)
	}
}

func TestAMissingCacheIsNotShownAsAnError(t *testing.T) {
	status := &client.SolveStatus{Vertexes: []*client.Vertex{
		{Digest: "a", Name: importPrefix + "reg/c:new", Completed: at(1), Error: "reg/c:new: not found\nmore"},
		{Digest: "b", Name: "[2/2] RUN false", Error: "exit code: 1"},
	}}
	got := calm(status)
	if got.Vertexes[0].Error != "" || got.Vertexes[1].Error == "" || len(got.Logs) != 1 || string(got.Logs[0].Data) != "no cache taken from here: reg/c:new: not found\n" {
		t.Errorf("calm = %+v, want the import's error as a line of its log and nothing else changed", got)
	}
	if status.Vertexes[0].Error == "" || len(status.Logs) != 0 {
		t.Error("calm changed the status it was given")
	}
	plain := &client.SolveStatus{}
	if calm(plain) != plain {
		t.Error("calm copied a status without anything to change")
	}
}

func TestOnlyTheCacheExportOfTheSecondSolveIsShown(t *testing.T) {
	known := make(map[digest.Digest]bool)
	if got := only(vertex("a", "[2/2] RUN true", at(1), at(2), true), exportPrefix, known); got != nil {
		t.Errorf("only = %+v, want nothing of a step", got)
	}
	if got := only(vertex("b", "exporting cache to registry", at(1), nil, false), exportPrefix, known); got == nil {
		t.Error("only = nil, want the export")
	}
	later := &client.SolveStatus{
		Statuses: []*client.VertexStatus{{ID: "x", Vertex: "a"}, {ID: "y", Vertex: "b"}},
		Logs:     []*client.VertexLog{{Vertex: "a"}, {Vertex: "b"}},
	}
	if got := only(later, exportPrefix, known); got == nil || len(got.Statuses) != 1 || len(got.Logs) != 1 {
		t.Errorf("only = %+v, want what belongs to the export", got)
	}
}

func TestAnExportThatRunsAStepIsSeen(t *testing.T) {
	for name, test := range map[string]struct {
		status *client.SolveStatus
		want   bool
	}{
		"a step that ran":         {vertex("a", "[2/2] RUN true", at(1), at(2), false, "in"), true},
		"another build's step":    {vertex("a", "[2/2] RUN true", at(0), at(2), false, "in"), false},
		"one that nobody started": {vertex("a", "[2/2] RUN true", nil, at(2), false, "in"), false},
		"a cached step":           {vertex("a", "[2/2] RUN true", at(1), at(2), true, "in"), false},
		"layers that are fetched": {vertex("a", "[2/2] RUN true", at(1), at(2), false), false},
		"a base image":            {vertex("a", "[1/2] FROM busybox", at(1), at(2), false, "in"), false},
		"the context":             {vertex("a", "[internal] load build context", at(1), at(2), false, "in"), false},
	} {
		if got := rebuilt(test.status.Vertexes[0], *at(1)); got != test.want {
			t.Errorf("rebuilt(%s) = %t, want %t", name, got, test.want)
		}
	}
}

func TestASpanIsNamedWithoutTheValuesOfArguments(t *testing.T) {
	for name, want := range map[string]string{
		"[linux/arm64 build 2/5] RUN echo hunter2": "[linux/arm64 build 2/5] RUN",
		"[1/2] COPY . /src":                        "[1/2] COPY",
		"exporting to image":                       "exporting to image",
	} {
		if got := spanName(name); got != want {
			t.Errorf("spanName(%q) = %q, want %q", name, got, want)
		}
	}
}
