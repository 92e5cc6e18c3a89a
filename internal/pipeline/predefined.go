package pipeline

import (
	"cmp"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/dockless-ci/dockless/internal/expr"
	"github.com/dockless-ci/dockless/internal/job"
)

// Identifiers of a run that no server knows. They are fixed, so that two runs of one
// pipeline look alike.
const (
	localProjectID    = "6f9d4b0e-1f5c-4a59-9a55-0c0a4a1d7c01"
	localCollectionID = "6f9d4b0e-1f5c-4a59-9a55-0c0a4a1d7c02"
	localUserID       = "6f9d4b0e-1f5c-4a59-9a55-0c0a4a1d7c03"
)

func (o Options) projectID() string { return cmp.Or(o.ProjectID, localProjectID) }
func (o Options) definitionID() int { return cmp.Or(o.DefinitionID, 1) }
func (o Options) buildID() int      { return cmp.Or(o.BuildID, 1) }

func (o Options) buildURI() string {
	return fmt.Sprintf("vstfs:///Build/Build/%d", o.buildID())
}

// templateNames are the predefined variables that ${{ }} sees. Those of a pull request
// are given as queue-time variables.
func (o Options) templateNames() map[string]string {
	branch := o.Repository.Ref
	values := map[string]string{
		"System":                  "build",
		"System.HostType":         "build",
		"System.CollectionId":     localCollectionID,
		"System.TeamProject":      cmp.Or(o.Project, "local"),
		"System.TeamProjectId":    o.projectID(),
		"System.DefinitionId":     strconv.Itoa(o.definitionID()),
		"System.DefinitionName":   o.Definition,
		"Build.DefinitionName":    o.Definition,
		"Build.DefinitionVersion": "1",
		"Build.QueuedBy":          o.RequestedFor,
		"Build.QueuedById":        localUserID,
		"Build.RequestedFor":      o.RequestedFor,
		"Build.RequestedForEmail": o.RequestedBy,
		"Build.RequestedForId":    localUserID,
		"Build.Reason":            cmp.Or(o.Reason, "Manual"),
		"Build.SourceBranch":      branch,
		"Build.SourceBranchName":  branch[strings.LastIndexByte(branch, '/')+1:],
		"Build.SourceVersion":     o.Repository.Commit,
	}
	for name, v := range o.Variables {
		if strings.HasPrefix(strings.ToLower(name), "system.pullrequest.") {
			values[name] = v.Value
		}
	}
	if _, ok := job.Lookup(values, "System.PullRequest.IsFork"); !ok {
		values["System.PullRequest.IsFork"] = "False"
	}
	return values
}

// templateVariables returns what ${{ variables }} holds before the file adds its own.
func templateVariables(o Options) *expr.Map {
	m := new(expr.Map)
	for name, value := range o.templateNames() {
		if value != "" {
			m.Set(name, expr.Text(value))
		}
	}
	return m
}

// system returns the variables that the service fills for every job of a run.
func (r *Run) system() *table {
	o := r.pipeline.options
	values := o.templateNames()
	maps.Copy(values, map[string]string{
		"System.ServerType":                              "Hosted",
		"System.Culture":                                 "en-US",
		"System.PlanId":                                  string(r.planID),
		"System.TimelineId":                              string(r.planID),
		"System.PipelineStartTime":                       o.Now.Format("2006-01-02 15:04:05-07:00"),
		"System.IsScheduled":                             "False",
		"System.JobParallelismTag":                       "Private",
		"System.EnableAccessToken":                       "SecretVariable",
		"Build.BuildId":                                  strconv.Itoa(o.buildID()),
		"Build.BuildNumber":                              o.BuildNumber,
		"Build.BuildUri":                                 o.buildURI(),
		"Build.ContainerId":                              strconv.Itoa(o.buildID()),
		"Build.Repository.Id":                            o.Repository.ID,
		"Build.Repository.Name":                          o.Repository.Name,
		"Build.Repository.Uri":                           o.Repository.URL,
		"Build.Repository.Provider":                      providers[strings.ToLower(cmp.Or(o.Repository.Type, "git"))],
		"Build.Repository.Clean":                         "False",
		"Build.Repository.Git.SubmoduleCheckout":         "False",
		"Build.SourceVersionAuthor":                      o.Repository.Author,
		"Build.SourceVersionMessage":                     firstLine(o.Repository.Message),
		"agent.readOnlyVariables":                        "true",
		"agent.retainDefaultEncoding":                    "false",
		"agent.disablelogplugin.TestResultLogPlugin":     "false",
		"agent.disablelogplugin.TestFilePublisherPlugin": "false",
	})
	return readOnly(values)
}

// providers maps a repository's type to Build.Repository.Provider.
var providers = map[string]string{
	"git": "TfsGit", "github": "GitHub", "githubenterprise": "GitHubEnterprise", "bitbucket": "Bitbucket", "externalgit": "Git",
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return strings.TrimSpace(line)
}

// readOnly makes a table of the values that are known.
func readOnly(values map[string]string) *table {
	t := new(table)
	for name, value := range values {
		if value != "" {
			t.set(name, job.Variable{Value: value, IsReadOnly: true})
		}
	}
	return t
}

// system returns the variables that tell one job from another.
func (j *Job) system() *table {
	stageID := stableID(identifier(j.Stage))
	values := map[string]string{
		"System.StageName":             j.Stage,
		"System.StageDisplayName":      j.stage.DisplayName,
		"System.StageId":               stageID,
		"System.StageAttempt":          "1",
		"System.PhaseName":             j.Name,
		"System.PhaseDisplayName":      j.state.def.DisplayName,
		"System.PhaseId":               stableID(identifier(j.Stage, j.Name)),
		"System.PhaseAttempt":          "1",
		"System.JobName":               j.Instance,
		"System.JobDisplayName":        j.DisplayName,
		"System.JobId":                 string(j.ID),
		"System.JobIdentifier":         j.Identifier(),
		"System.JobAttempt":            "1",
		"System.JobTimeout":            strconv.Itoa(int(j.Timeout.Minutes())),
		"System.JobPositionInPhase":    strconv.Itoa(j.position),
		"System.TotalJobsInPhase":      strconv.Itoa(j.total),
		"System.ParallelExecutionType": j.parallel,
	}
	return readOnly(values)
}
