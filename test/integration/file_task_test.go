package integration_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/job"
)

// fileTask makes a step of a task whose failure does not end the job.
func fileTask(name, id, version string, pairs ...string) job.Step {
	s := job.Step{Name: name, DisplayName: name, Reference: job.TaskReference{ID: id, Name: name, Version: version}, ContinueOnError: true, Inputs: make(map[string]string)}
	for i := 0; i < len(pairs); i += 2 {
		s.Inputs[pairs[i]] = pairs[i+1]
	}
	return s
}

// The agent itself can read the file of its credential, so a task that copies or
// packs for a job must not be the way to it.
func TestTheTasksThatCopyFilesReadNoMoreThanTheirJob(t *testing.T) {
	t.Parallel()
	p := registered(t, credentials["a PAT in a file"], false)
	const (
		copies   = "5bfb729a-a7c8-4a78-a7c3-8d717bb7c13c"
		archives = "d8b84976-e99a-4b86-b885-4849694435b0"
		extracts = "5e1e3830-fbfb-11e5-aab1-090c92bc4988"
	)
	before := emulatortest.Bash("mkdir in; echo mine >in/mine; ln -s " + p.file + " in/token").Steps[0]
	after := emulatortest.Bash(needle(p.secret) + `
for folder in . "$AGENT_TEMPDIRECTORY"; do grep -r -a -l -F -f <(needle) "$folder" | wc -l; done
wc -l <out/mine
exit 0`).Steps[0]
	after.DisplayName, after.Condition = "After", "always()"
	id := p.srv.Queue(emulatortest.Steps(
		before,
		fileTask("CopyFiles", copies, "2.276.0", "SourceFolder", "in", "TargetFolder", "out"),
		fileTask("ArchiveFiles", archives, "2.279.0", "rootFolderOrFile", "in", "archiveFile", "x.zip"),
		fileTask("ExtractFiles", extracts, "1.274.0", "archiveFilePatterns", "in/token", "destinationFolder", "to"),
		after,
	))
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errTooLong)
	defer cancel()
	if _, err := p.srv.Await(ctx, id, emulator.Completed); err != nil {
		t.Fatalf("%v; the agent's log:\n%s", err, p.log())
	}
	report, err := p.srv.Report(id)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"CopyFiles", "ArchiveFiles", "ExtractFiles"} {
		log := strings.Join(record(t, report, name).Log, "\n")
		if !strings.Contains(log, "permission denied") || !strings.Contains(log, "a job may not read the files that hold the agent's credentials") {
			t.Errorf("%s does not say that it may not read the file:\n%s", name, log)
		}
	}
	// In both of the job's folders, and how many lines its own file has.
	if got := strings.Join(counts(record(t, report, "After").Log), " "); got != "0 0 1" {
		t.Errorf("files with the credential, and lines of the copy = %s, want 0 0 1", got)
	}
	p.wantNothingSent(t)
}
