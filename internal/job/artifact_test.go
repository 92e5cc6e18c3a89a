package job_test

import (
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/internal/job"
)

func TestTheLocationOfAContainerArtifactIsRead(t *testing.T) {
	for location, want := range map[string]struct {
		id     int64
		folder string
		ok     bool
	}{
		"#/77123/drop": {77123, "drop", true}, "#/1/a/b/": {1, "a/b", true}, "#/1": {}, "#/1/": {}, "#/x/drop": {}, "/1/drop": {}, "": {}, "#/99999999999999999999/a": {},
	} {
		id, folder, ok := job.ArtifactResource{Type: "container", Data: location}.Container()
		if ok != want.ok || ok && (id != want.id || folder != want.folder) {
			t.Errorf("%q is %d, %q, %t; want %+v", location, id, folder, ok, want)
		}
	}
	if _, _, ok := (job.ArtifactResource{Type: job.ArtifactFilePath, Data: "#/1/a"}).Container(); ok {
		t.Error("an artifact on a file share is in a container")
	}
}

func FuzzContainer(f *testing.F) {
	f.Add("#/77123/drop/x")
	f.Add("#//")
	f.Fuzz(func(t *testing.T, location string) {
		id, folder, ok := job.ArtifactResource{Type: job.ArtifactContainer, Data: location}.Container()
		if !ok {
			return
		}
		again, same, ok := job.ArtifactResource{Type: job.ArtifactContainer, Data: job.ContainerLocation(id, folder)}.Container()
		if !ok || again != id || same != folder || strings.HasPrefix(folder, "/") {
			t.Errorf("%q is %d, %q, and that is %d, %q, %t", location, id, folder, again, same, ok)
		}
	})
}
