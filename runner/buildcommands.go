package runner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner/internal/artifacttasks"
	"github.com/dockless-ci/dockless/runner/internal/command"
)

// buildCommands change the run and its artifacts (protocol §9.1 to §9.3).
func buildCommands() commandTable {
	return commandTable{
		"artifact": {"associate": associateArtifact, "upload": uploadArtifact},
		"build":    {"updatebuildnumber": updateBuildNumber, "addbuildtag": addBuildTag},
		"release":  {"updatereleasename": updateReleaseName},
	}
}

// hosts names the areas that not every kind of run has, and those that have them.
var hosts = map[string][]string{"build": {"build"}, "release": {"release"}, "artifact": {"build", "release"}}

// hostType is the kind of run that the job belongs to: build, release or another.
// The server's word counts.
func (x *execution) hostType() string {
	v, _ := job.Lookup(x.m.Variables, "system.hosttype")
	if v.Value == "" {
		return "build"
	}
	return strings.ToLower(v.Value)
}

// offers returns an error when the job's kind of run has no such commands.
func (x *execution) offers(area string) error {
	if kinds, ok := hosts[area]; ok && !slices.Contains(kinds, x.hostType()) {
		return fmt.Errorf("commands of the area %s are not supported in a job of host type %s", area, x.hostType())
	}
	return nil
}

var errNoServer = errors.New("there is no server that keeps artifacts and runs")

// buildService returns what keeps the run.
func (x *execution) buildService() (BuildService, error) {
	if x.cfg.Builds == nil {
		return nil, hint.With(errNoServer, "run the job by an agent, or with dockless replay")
	}
	return x.cfg.Builds, nil
}

// runOf returns the run of the job as the server names it: a step cannot redirect
// what it publishes.
func (x *execution) runOf() (artifacttasks.Run, error) {
	service, err := x.buildService()
	if err != nil {
		return artifacttasks.Run{}, err
	}
	r := artifacttasks.Run{Service: service, Job: string(x.m.JobID)}
	project, _ := job.Lookup(x.m.Variables, "system.teamProjectId")
	if r.Project = project.Value; r.Project == "" {
		r.Project = x.m.Plan.ScopeIdentifier
	}
	if r.Build, err = x.serverNumber("build.buildId"); err != nil {
		return artifacttasks.Run{}, err
	}
	container, err := x.serverNumber("build.containerId")
	r.Container = int64(container)
	if x.hostType() != "build" {
		err = nil // only builds have one
	}
	return r, err
}

// serverNumber returns a variable of the message that is a number.
func (x *execution) serverNumber(name string) (int, error) {
	v, _ := job.Lookup(x.m.Variables, name)
	n, err := strconv.Atoi(v.Value)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("the variable %s of the job is %q, want a number", name, v.Value)
	}
	return n, nil
}

// artifactProperties are the properties of a command that the artifact keeps.
func artifactProperties(c command.Command) map[string]string {
	out := maps.Clone(c.Properties)
	for _, own := range []string{"artifactname", "artifacttype", "containerfolder"} {
		delete(out, own)
	}
	return out
}

// isUNC reports whether a location is on a file share.
func isUNC(location string) bool {
	return strings.HasPrefix(location, `\\`) || strings.HasPrefix(location, "//") || strings.HasPrefix(strings.ToLower(location), "file://")
}

// artifactType guesses the type of an artifact from its location.
func artifactType(location string) (string, error) {
	switch {
	case isUNC(location):
		return job.ArtifactFilePath, nil
	case strings.HasPrefix(location, "$/"), strings.HasPrefix(location, `$\`):
		return job.ArtifactVersionControl, nil
	case strings.HasPrefix(location, "#"):
		return job.ArtifactContainer, nil
	}
	return "", fmt.Errorf("the property artifacttype is missing, and the location %q does not tell it", location)
}

func associateArtifact(a *attempt, c command.Command) error {
	name := c.Property("artifactname")
	if name == "" {
		return errors.New("the property artifactname is missing")
	}
	kind, location := c.Property("artifacttype"), c.Data
	if kind == "" {
		var err error
		if kind, err = artifactType(location); err != nil {
			return err
		}
	}
	located := false
	for _, known := range []string{job.ArtifactContainer, job.ArtifactFilePath, job.ArtifactVersionControl} {
		if strings.EqualFold(kind, known) {
			kind, located = known, true
		}
	}
	switch {
	case located && location == "":
		return errors.New("the location of the artifact is missing")
	case kind != job.ArtifactFilePath && a.x.hostType() != "build":
		return fmt.Errorf("only an artifact on a file share can be associated in a job of host type %s", a.x.hostType())
	}
	r, err := a.x.runOf()
	if err != nil {
		return err
	}
	artifact := job.Artifact{
		Name: name, Source: r.Job, Resource: job.ArtifactResource{Type: kind, Data: location, Properties: artifactProperties(c)},
	}
	return a.later(c, func(ctx context.Context, say func(string)) error { return r.Associate(ctx, artifact, say) })
}

func uploadArtifact(a *attempt, c command.Command) error {
	name := c.Property("artifactname")
	folder := strings.Trim(strings.ReplaceAll(c.Property("containerfolder"), `\`, "/"), "/")
	switch {
	case name == "":
		return errors.New("the property artifactname is missing")
	case c.Data == "":
		return errors.New("the path of what is uploaded is missing")
	case a.x.hostType() != "build":
		return fmt.Errorf("an artifact cannot be uploaded in a job of host type %s", a.x.hostType())
	case folder == "":
		folder = name
	}
	path := a.x.path(c.Data)
	empty, err := artifacttasks.IsEmpty(path)
	if err != nil {
		return err
	}
	if empty {
		a.node.warn(fmt.Sprintf("The directory %s has no files. Nothing is published as artifact %s.", path, name))
		return nil
	}
	r, err := a.x.runOf()
	if err != nil {
		return err
	}
	properties := artifactProperties(c)
	return a.later(c, func(ctx context.Context, say func(string)) error {
		files, err := artifacttasks.Collect(ctx, path, a.x.open, nil)
		if err != nil {
			return err
		}
		return r.Publish(ctx, name, folder, files, properties, a.x.folders.temp, say)
	})
}

func updateBuildNumber(a *attempt, c command.Command) error {
	number := c.Data
	if number == "" {
		return errors.New("the number is missing")
	}
	r, err := a.x.runOf()
	if err != nil {
		return err
	}
	a.x.define("build.buildNumber", number)
	return a.later(c, func(ctx context.Context, say func(string)) error {
		now, err := a.x.cfg.Builds.SetNumber(ctx, r.RunReference, number)
		switch {
		case err != nil:
			return err
		case !strings.EqualFold(now, number):
			return fmt.Errorf("the server keeps the number %q instead of %q", now, number)
		}
		say(fmt.Sprintf("The number of run %d is %s now.", r.Build, number))
		return nil
	})
}

func addBuildTag(a *attempt, c command.Command) error {
	tag := strings.TrimSpace(c.Data)
	if tag == "" {
		return errors.New("the tag is missing")
	}
	r, err := a.x.runOf()
	if err != nil {
		return err
	}
	return a.later(c, func(ctx context.Context, say func(string)) error {
		tags, err := a.x.cfg.Builds.AddTag(ctx, r.RunReference, tag)
		switch {
		case err != nil:
			return err
		case !slices.ContainsFunc(tags, func(t string) bool { return strings.EqualFold(t, tag) }):
			return fmt.Errorf("the server does not list the tag %q among those of run %d", tag, r.Build)
		}
		say(fmt.Sprintf("Run %d has the tag %s now.", r.Build, tag))
		return nil
	})
}

func updateReleaseName(a *attempt, c command.Command) error {
	name := c.Data
	if name == "" {
		return errors.New("the name is missing")
	}
	service, err := a.x.buildService()
	if err != nil {
		return err
	}
	release, err := a.x.serverNumber("release.releaseId")
	if err != nil {
		return err
	}
	project, _ := job.Lookup(a.x.m.Variables, "system.teamProjectId")
	a.x.define("release.releaseName", name)
	return a.later(c, func(ctx context.Context, say func(string)) error {
		if err := service.RenameRelease(ctx, project.Value, release, name, "Renamed by a step of the release"); err != nil {
			return err
		}
		say(fmt.Sprintf("The name of release %d is %s now.", release, name))
		return nil
	})
}
