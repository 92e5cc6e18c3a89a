package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner/internal/command"
	"github.com/dockless-ci/dockless/runner/internal/testresults"
	"github.com/dockless-ci/dockless/runner/internal/testtasks"
	"github.com/dockless-ci/dockless/runner/internal/vars"
)

// resultCommands publish test results and coverage (protocol §9.5).
func resultCommands() commandTable {
	return commandTable{
		"results":      {"publish": publishResults, "publishtoevidencestore": ignoreEvidence},
		"codecoverage": {"publish": publishCoverage},
	}
}

// ignoreEvidence says that the evidence store, a service of Microsoft's own that
// tasks write to besides, gets nothing. Nothing a pipeline reads comes from it.
func ignoreEvidence(a *attempt, _ command.Command) error {
	a.node.console.print("The evidence store is not supported: the summary of the results was not sent to it.")
	return nil
}

// publishResults takes the properties of results.publish. Results are read beside
// the step.
func publishResults(a *attempt, c command.Command) error {
	format, err := testresults.ParseFormat(c.Property("type"))
	if c.Property("type") == "" {
		err = errors.New("the property type is missing")
	}
	if err != nil {
		return err
	}
	files := testtasks.Split(cmp.Or(strings.TrimSpace(c.Data), c.Property("resultfiles")))
	if len(files) == 0 {
		return errors.New("the property resultFiles is missing, and so are data")
	}
	for i := range files {
		files[i] = a.x.path(files[i])
	}
	p := testtasks.Publication{
		Format: format, Files: files, Merge: vars.Truth(c.Property("mergeresults"), true),
		Title: c.Property("runtitle"), Platform: c.Property("platform"), Configuration: c.Property("config"), System: c.Property("testrunsystem"),
		AttachFiles:   vars.Truth(c.Property("publishrunattachments"), true),
		FailOnFailed:  vars.Truth(c.Property("failtaskonfailedtests"), false),
		FailOnProblem: vars.Truth(c.Property("failtaskonfailuretopublishresults"), false),
	}
	return a.later(c, func(ctx context.Context, say func(string)) error { return p.Run(ctx, a.testHost(say)) })
}

// publishCoverage takes the properties of codecoverage.publish. The summary is
// read beside the step; files go the way of artifacts.
func publishCoverage(a *attempt, c command.Command) error {
	if host, ok := job.Lookup(a.x.m.Variables, "system.hosttype"); ok && !strings.EqualFold(host.Value, "build") {
		a.node.warn("Code coverage can be published by builds only; this is a job of host type " + host.Value + ".")
		return nil
	}
	tool, files := c.Property("codecoveragetool"), testtasks.Split(c.Property("summaryfile"))
	switch {
	case tool == "":
		return errors.New("the property codecoveragetool is missing")
	case len(files) == 0:
		return errors.New("the property summaryfile is missing")
	}
	for i := range files {
		files[i] = a.x.path(files[i])
	}
	if strings.EqualFold(tool, testtasks.AnyTool) {
		tool = ""
	}
	p := testtasks.CoveragePublication{Tool: tool, Files: files, Platform: c.Property("platform"), Configuration: c.Property("config")}
	if err := a.later(c, func(ctx context.Context, say func(string)) error { return p.Run(ctx, a.testHost(say)) }); err != nil {
		return err
	}
	a.uploadCoverage(c)
	return nil
}

// uploadCoverage publishes the report and additional files as the artifacts of
// protocol §9.5.
func (a *attempt) uploadCoverage(c command.Command) {
	// Through an interface: the table of commands has this function in it.
	var commands interface{ execute(command.Command) } = a
	upload := func(artifact, file, browsable string) {
		artifact += "_" + a.x.vars.Value("build.buildId")
		commands.execute(command.Command{
			Area: "artifact", Event: "upload", Data: a.x.path(file),
			Properties: map[string]string{"artifactname": artifact, "containerfolder": artifact, "browsable": browsable},
		})
	}
	if report := c.Property("reportdirectory"); report != "" {
		browsable := "False"
		if f, err := a.x.open(filepath.Join(a.x.path(report), "index.html")); err == nil {
			browsable = "True"
			_ = f.Close() // only opened to see whether it is there
		}
		upload("Code Coverage Report", report, browsable)
	}
	for _, file := range testtasks.Extra(c.Property("additionalcodecoveragefiles")) {
		upload("Code Coverage Files", file, "False")
	}
}

// testHost is what publishing needs of the job. Nothing in it uses the node but
// the record's id, which stays.
func (a *attempt) testHost(say func(string)) testtasks.Host {
	masks := a.x.masks
	return testtasks.Host{
		Service: a.x.cfg.Tests, Say: say, Open: func(path string) (*os.File, error) { return a.x.open(path) },
		Mask: masks.Mask, MaskText: masks.MaskText, Masks: func(w io.Writer) io.WriteCloser { return masks.NewWriter(w) },
		BuildID: a.x.vars.Value("build.buildId"),
		Summarize: func(markdown string) {
			name := "TestResults.md"
			if a.summaries++; a.summaries > 1 { // one of the same name would take its place
				name = fmt.Sprintf("TestResults_%d.md", a.summaries)
			}
			a.x.rep.Attach(a.ctx, a.node.record.ID, job.Attachment{Type: job.AttachmentSummary, Name: name, Content: masks.MaskBytes([]byte(markdown))})
		},
	}
}
