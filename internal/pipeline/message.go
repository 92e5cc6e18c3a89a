package pipeline

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
)

// Defaults of the service, in minutes.
const (
	defaultTimeout       = 60
	defaultCancelTimeout = 5
)

// planVersion makes the agent complete the job by an event.
const planVersion = 9

// prepare evaluates what is left of the job now that it starts, and builds its message.
func (j *Job) prepare(around *surroundings) error {
	own := *around
	own.table = around.table.clone()
	for name, value := range j.leg.variables {
		own.table.set(name, job.Variable{Value: value})
	}
	own.table.merge(j.run.system())
	def := j.state.def
	minutes, err := own.lateInt(def.timeout, defaultTimeout)
	if err != nil {
		return fmt.Errorf("timeoutInMinutes: %w", err)
	}
	cancelMinutes, err := own.lateInt(def.cancelTimeout, defaultCancelTimeout)
	if err != nil {
		return fmt.Errorf("cancelTimeoutInMinutes: %w", err)
	}
	if j.ContinueOnError, err = own.lateBool(def.continueOnError); err != nil {
		return fmt.Errorf("continueOnError: %w", err)
	}
	j.Timeout, j.CancelTimeout = time.Duration(minutes)*time.Minute, time.Duration(cancelMinutes)*time.Minute
	j.DisplayName = own.table.expand(j.DisplayName)
	if err := j.preparePool(&own); err != nil {
		return err
	}
	own.table.merge(j.system())
	return j.buildMessage(&own)
}

func (j *Job) preparePool(own *surroundings) error {
	texts := []*string{&j.Pool.Name}
	j.Pool.Demands = slices.Clone(j.Pool.Demands)
	for i := range j.Pool.Demands {
		texts = append(texts, &j.Pool.Demands[i])
	}
	for _, text := range texts {
		evaluated, err := own.eval(*text)
		if err != nil {
			return fmt.Errorf("pool: %w", err)
		}
		*text = own.table.expand(evaluated)
	}
	return nil
}

func (j *Job) buildMessage(own *surroundings) error {
	o := j.run.pipeline.options
	m := &job.Message{
		MessageType: job.MessageTypeRequest,
		Plan: job.Plan{
			ScopeIdentifier: o.projectID(), PlanType: "Build", Version: planVersion, PlanID: j.run.planID,
			PlanGroup:   fmt.Sprintf("Build:%s:%d", o.projectID(), o.buildID()),
			ArtifactURI: o.buildURI(),
			Definition:  &job.Reference{ID: o.definitionID(), Name: o.Definition},
			Owner:       &job.Reference{ID: o.buildID(), Name: o.BuildNumber},
		},
		Timeline:       job.TimelineReference{ID: job.TimelineID(j.run.planID)},
		JobID:          j.ID,
		JobDisplayName: j.DisplayName,
		JobName:        j.Instance,
		Variables:      own.table.variables(),
	}
	if clean := j.state.def.clean; clean != "" {
		m.Workspace = &job.Workspace{Clean: clean}
	}
	steps, err := j.steps(own)
	if err != nil {
		return err
	}
	m.Steps = steps
	m.Resources.Repositories = j.repositories()
	if err := j.addContainers(m, own); err != nil {
		return err
	}
	j.message = m
	return nil
}

func (j *Job) steps(own *surroundings) ([]job.Step, error) {
	steps := []job.Step{}
	for _, s := range j.state.def.Steps {
		step := job.Step{
			Type: "task", ID: job.RecordID(j.run.id(j.Identifier() + "." + s.Name)), Name: s.Name,
			DisplayName: s.DisplayName, Reference: s.reference, Condition: cmp.Or(s.Condition, "succeeded()"),
			Inputs: maps.Clone(s.Inputs), Environment: maps.Clone(s.Environment), Target: s.target,
		}
		var err error
		fail := func(key string) ([]job.Step, error) {
			return nil, fmt.Errorf("the step %s: %s: %w", s.Name, key, err)
		}
		if step.ContinueOnError, err = own.lateBool(s.continueOnError); err != nil {
			return fail("continueOnError")
		}
		if step.TimeoutInMinutes, err = own.lateInt(s.timeout, 0); err != nil {
			return fail("timeoutInMinutes")
		}
		if step.RetryCountOnTaskFailure, err = own.lateInt(s.retries, 0); err != nil {
			return fail("retryCountOnTaskFailure")
		}
		steps = append(steps, step)
	}
	return steps, nil
}

// repositories returns self and the others that the job checks out.
func (j *Job) repositories() []job.Repository {
	p := j.run.pipeline
	all := []job.Repository{p.options.Repository.resource("self", p.options)}
	for _, s := range j.state.def.Steps {
		alias := s.Inputs["repository"]
		if r := p.repos[strings.ToLower(alias)]; s.isCheckout() && r != nil {
			if !slices.ContainsFunc(all, func(other job.Repository) bool { return other.Alias == r.alias }) {
				all = append(all, r.resource(r.alias, p.options))
			}
		}
	}
	return all
}

// resource returns the repository as a message carries it.
func (r Repository) resource(alias string, o Options) job.Repository {
	properties := make(map[string]json.RawMessage)
	set := func(name string, value any) {
		raw, err := json.Marshal(value)
		if err != nil {
			panic("pipeline: a text or a map of texts does not marshal: " + err.Error())
		}
		properties[name] = raw
	}
	kind := cmp.Or(r.Type, "Git")
	if strings.EqualFold(kind, "git") {
		kind = "Git"
	}
	for name, value := range map[string]string{
		"id": r.ID, "type": kind, "name": r.Name, "url": r.URL, "ref": r.Ref,
		"version": r.Commit, "defaultBranch": r.DefaultBranch, "project": o.projectID(),
	} {
		if value != "" {
			set(name, value)
		}
	}
	if r.Author != "" || r.Message != "" {
		set("versionInfo", map[string]string{"author": r.Author, "message": r.Message})
	}
	set("checkoutOptions", map[string]string{})
	return job.Repository{Alias: alias, Endpoint: &job.EndpointReference{Name: job.SystemConnection}, Properties: properties}
}

// addContainers resolves the job's container, its services and the containers that
// steps name as targets.
func (j *Job) addContainers(m *job.Message, own *surroundings) error {
	def := j.state.def
	var err error
	if m.JobContainer, err = j.addContainer(m, own, def.container, "job"); err != nil {
		return fmt.Errorf("container: %w", err)
	}
	for _, s := range def.services {
		alias, err := j.addContainer(m, own, s.use, s.name)
		if err != nil {
			return fmt.Errorf("the service %s: %w", s.name, err)
		}
		if alias == "" {
			continue // an expression that came to nothing
		}
		if m.JobSidecarContainers == nil {
			m.JobSidecarContainers = make(map[string]string)
		}
		m.JobSidecarContainers[s.name] = alias
	}
	for _, s := range def.Steps {
		if s.target != nil && s.target.Target != "" && s.target.Target != "host" {
			j.declareContainer(m, j.run.pipeline.containers[strings.ToLower(s.target.Target)].Container)
		}
	}
	return nil
}

// addContainer puts one container into the message and returns its alias there, which
// is empty for no container.
func (j *Job) addContainer(m *job.Message, own *surroundings, use containerUse, name string) (string, error) {
	if use.inline != nil {
		c := use.inline.Container
		c.Alias = freeAlias(m, j.run.pipeline.containers, name)
		return j.declareContainer(m, c), nil
	}
	text, err := own.eval(use.text)
	if err != nil {
		return "", err
	}
	text = strings.TrimSpace(own.table.expand(text))
	if text == "" {
		return "", nil
	}
	if declared := j.run.pipeline.containers[strings.ToLower(text)]; declared != nil {
		return j.declareContainer(m, declared.Container), nil
	}
	c := job.Container{Properties: job.ContainerProperties{Image: text}}
	if strings.HasPrefix(text, "{") {
		if c, err = parseContainer(text); err != nil {
			return "", err
		}
	}
	c.Alias = freeAlias(m, j.run.pipeline.containers, name)
	return j.declareContainer(m, c), nil
}

func (j *Job) declareContainer(m *job.Message, c job.Container) string {
	if _, again := m.Container(c.Alias); !again {
		m.Resources.Containers = append(m.Resources.Containers, c)
	}
	return c.Alias
}

// freeAlias returns name, with a number when the message or the file already uses it.
func freeAlias(m *job.Message, declared map[string]*container, name string) string {
	for n := 1; ; n++ {
		alias := name
		if n > 1 {
			alias += strconv.Itoa(n)
		}
		if _, used := m.Container(alias); !used && declared[strings.ToLower(alias)] == nil {
			return alias
		}
	}
}

// parseContainer reads the JSON text that a runtime expression gave.
func parseContainer(text string) (job.Container, error) {
	d := &decoder{problems: newProblems("container"), containers: make(map[string]*container)}
	root := read(d.problems, "", []byte(text))
	var c job.Container
	if root != nil {
		if o := d.object(root); o != nil {
			c = d.container(o).Container
			o.finish()
		}
	}
	if err := d.err(); err != nil {
		return c, fmt.Errorf("reading the container: %w", err)
	}
	return c, nil
}
