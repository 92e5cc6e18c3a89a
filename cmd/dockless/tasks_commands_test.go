package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/job"
)

// command is a step that prints one logging command.
func command(text string) job.Step {
	s := emulatortest.Script("echo '" + text + "'").Steps[0]
	s.DisplayName, s.Name = text, ""
	s.ContinueOnError = true
	return s
}

// ask reads from the emulator with the PAT.
func (s *taskStage) ask(path string) string {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.URL+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.SetBasicAuth("", s.PAT.Reveal())
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close() //nolint:errcheck // read only
	defer http.DefaultClient.CloseIdleConnections()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(body)
}

func TestCommandsChangeTheRunAndItsArtifacts(t *testing.T) {
	s := startTaskStage(t)
	show := emulatortest.Script("echo number $(Build.BuildNumber)").Steps[0]
	show.DisplayName = "show"
	prepare := emulatortest.Script("mkdir -p nothing/at/all files && echo 1 > files/one")
	m := emulatortest.Steps(prepare.Steps[0],
		command(`##vso[artifact.upload artifactname=up;containerfolder=a/b;mine=x]files`),
		command(`##vso[artifact.upload artifactname=single]files/one`),
		command(`##vso[artifact.associate artifactname=share]\\server\share`),
		command(`##vso[artifact.associate artifactname=tfvc;Browsable=true]$/project/path`),
		command(`##vso[artifact.associate artifactname=again]#/$(Build.ContainerId)/a`),
		command(`##vso[artifact.associate artifactname=own;artifacttype=custom]`),
		command(`##vso[artifact.upload artifactname=empty]nothing`),
		command(`##vso[build.addbuildtag]  tag %3B one `),
		command(`##vso[build.updatebuildnumber]2.0+rc 1`), show)
	id, report := s.run(m)
	s.wantResult(report, job.Succeeded)
	container := report.Variables["build.containerId"]
	var got []string
	for _, a := range s.Artifacts(id) {
		got = append(got, fmt.Sprintf("%s %s %s %v", a.Name, a.Resource.Type, a.Resource.Data, a.Resource.Properties))
	}
	want := []string{
		"up Container #/" + container + "/a/b map[artifactsize:2 mine:x]", "single Container #/" + container + "/single map[artifactsize:2]",
		`share FilePath \\server\share map[]`, "tfvc VersionControl $/project/path map[browsable:true]",
		"again Container #/" + container + "/a map[]", "own custom  map[]",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("artifacts (-want +got):\n%s", diff)
	}
	if log := logOf(t, report, "show"); !strings.Contains(log, "\nnumber 2.0+rc 1\n") {
		t.Errorf("the next step does not see the number:\n%s", log)
	}
	empty := recordNamed(t, report, "##vso[artifact.upload artifactname=empty]nothing")
	if empty.Result != job.Succeeded || len(empty.Issues) != 1 || empty.Issues[0].Type != job.Warning {
		t.Errorf("an empty directory: %s with %+v, want one warning", empty.Result, empty.Issues)
	}
	build := "/x/_apis/build/builds/" + report.Variables["build.buildId"]
	if tags, number := s.ask(build+"/tags"), s.ask(build); !strings.Contains(tags, `["tag ; one"]`) || !strings.Contains(number, `"buildNumber":"2.0+rc 1"`) {
		t.Errorf("the run has tags %s and is %s", tags, number)
	}
}

func TestCommandsThatCannotBeCarriedOutFailTheirStep(t *testing.T) {
	s := startTaskStage(t)
	other := `{"id": 501, "buildNumber": "another"}`
	none := `{"count": 0, "value": []}`
	for _, c := range []struct {
		command, want string
		fault         *emulator.Fault
	}{
		{`##vso[artifact.upload]x`, "artifactname is missing", nil},
		{`##vso[artifact.upload artifactname=a]`, "path of what is uploaded is missing", nil},
		{`##vso[artifact.upload artifactname=a]nowhere`, "does not exist", nil},
		{`##vso[artifact.upload artifactname=a:b]/etc/hostname`, "InvalidArtifactNameException", nil},
		{`##vso[artifact.associate]x`, "artifactname is missing", nil},
		{`##vso[artifact.associate artifactname=a]/tmp`, "artifacttype is missing", nil},
		{`##vso[artifact.associate artifactname=a;artifacttype=container]`, "location of the artifact is missing", nil},
		{`##vso[artifact.associate artifactname=a]#/1/x`, "400", nil},
		{`##vso[build.updatebuildnumber]`, "number is missing", nil},
		{`##vso[build.addbuildtag] `, "tag is missing", nil},
		{`##vso[release.updatereleasename]x`, "not supported in a job of host type build", nil},
		{`##vso[build.updatebuildnumber]1`, `keeps the number "another"`, &emulator.Fault{Match: "PATCH /builds/", Kind: emulator.FaultStatus, Count: 1, Answer: emulator.FaultAnswer{Code: 200, Body: &other}}},
		{`##vso[build.addbuildtag]x`, `does not list the tag "x"`, &emulator.Fault{Match: "POST /tags$", Kind: emulator.FaultStatus, Count: 1, Answer: emulator.FaultAnswer{Code: 200, Body: &none}}},
		{`##vso[artifact.upload artifactname=a]/etc/hostname`, "403", &emulator.Fault{Match: "PUT /Containers/", Kind: emulator.FaultStatus, Count: 1, Answer: emulator.FaultAnswer{Code: 403}}},
	} {
		t.Run(c.want, func(t *testing.T) {
			if c.fault != nil {
				s.Fail(*c.fault)
			}
			_, report := s.run(emulatortest.Steps(command(c.command)))
			rec := recordNamed(t, report, c.command)
			if len(rec.Issues) == 0 || rec.Result != job.SucceededWithIssues || !strings.Contains(rec.Issues[0].Message, c.want) {
				t.Errorf("%s: %s with %+v, want an error with %q", c.command, rec.Result, rec.Issues, c.want)
			}
		})
	}
}

func TestAReleaseHasItsOwnCommands(t *testing.T) {
	s := startTaskStage(t)
	rename := `##vso[release.updatereleasename]Release 4`
	show := emulatortest.Script("echo name $(Release.ReleaseName)").Steps[0]
	show.DisplayName = "show"
	m := emulatortest.Steps(command(rename), show,
		command(`##vso[build.addbuildtag]x`), command(`##vso[artifact.upload artifactname=a]/etc/hostname`),
		command(`##vso[artifact.associate artifactname=a;artifacttype=custom]x`), command(`##vso[artifact.associate artifactname=f]\\server\share`))
	m.Plan.PlanType = "Release"
	m.Variables = map[string]job.Variable{"release.releaseId": {Value: "33"}, "release.releaseName": {Value: "Release 3"}}
	id, report := s.run(m)
	if log := logOf(t, report, "show"); s.ReleaseName(33) != "Release 4" || !strings.Contains(log, "\nname Release 4\n") {
		t.Errorf("the release is called %q, and the next step says\n%s", s.ReleaseName(33), log)
	}
	for _, text := range []string{`##vso[build.addbuildtag]x`, `##vso[artifact.upload artifactname=a]/etc/hostname`, `##vso[artifact.associate artifactname=a;artifacttype=custom]x`} {
		if rec := recordNamed(t, report, text); len(rec.Issues) != 1 || !strings.Contains(rec.Issues[0].Message, "host type release") {
			t.Errorf("%s in a release: %+v", text, rec.Issues)
		}
	}
	if artifacts := s.Artifacts(id); len(artifacts) != 1 || artifacts[0].Resource.Type != job.ArtifactFilePath {
		t.Errorf("artifacts %+v, want the one on a share", artifacts)
	}
}
