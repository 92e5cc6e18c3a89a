package job

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// MessageTypeRequest is the type of the message that carries a job (protocol §5.4).
const MessageTypeRequest = "PipelineAgentJobRequest"

// Message is one job as the server sends it (protocol §6). Unknown members are
// ignored and missing ones have their zero value.
type Message struct {
	MessageType          string              `json:"messageType"`
	Plan                 Plan                `json:"plan"`
	Timeline             TimelineReference   `json:"timeline"`
	JobID                ID                  `json:"jobId"`
	JobDisplayName       string              `json:"jobDisplayName"`
	JobName              string              `json:"jobName"`
	JobContainer         string              `json:"jobContainer,omitempty"`         // alias in Resources.Containers; empty: the host
	JobSidecarContainers map[string]string   `json:"jobSidecarContainers,omitempty"` // network alias → container alias
	RequestID            RequestID           `json:"requestId"`
	LockedUntil          Time                `json:"lockedUntil"`
	Resources            Resources           `json:"resources"`
	Workspace            *Workspace          `json:"workspace,omitempty"`
	Variables            map[string]Variable `json:"variables"`
	Mask                 []MaskHint          `json:"mask,omitempty"`
	Steps                []Step              `json:"steps"`
}

// Plan is the orchestration a job belongs to.
type Plan struct {
	ScopeIdentifier string     `json:"scopeIdentifier"` // project GUID, first segment of plan routes
	PlanType        string     `json:"planType"`        // hub name: Build, Release, …
	Version         int        `json:"version"`         // from 8 on the job is completed by an event
	PlanID          PlanID     `json:"planId"`
	PlanGroup       string     `json:"planGroup,omitempty"`
	ArtifactURI     string     `json:"artifactUri,omitempty"`
	Definition      *Reference `json:"definition,omitempty"`
	Owner           *Reference `json:"owner,omitempty"`
}

// CompletedByEvent reports whether the job ends with a plan event instead of
// finishing its request (protocol §6.3).
func (p Plan) CompletedByEvent() bool { return p.Version >= 8 }

// Reference names a definition or a run.
type Reference struct {
	ID   int    `json:"id"`
	Name string `json:"name"`
}

// TimelineReference names the timeline that this job's records belong to.
type TimelineReference struct {
	ID       TimelineID `json:"id"`
	ChangeID int        `json:"changeId,omitempty"`
}

// Resources are the outside things a job may use.
type Resources struct {
	Endpoints    []Endpoint   `json:"endpoints,omitempty"`
	Repositories []Repository `json:"repositories,omitempty"`
	Containers   []Container  `json:"containers,omitempty"`
	SecureFiles  []SecureFile `json:"secureFiles,omitempty"`
}

// SystemConnection is the name of the endpoint that carries the job token.
const SystemConnection = "SystemVssConnection"

// Endpoint is a service connection.
type Endpoint struct {
	ID            string            `json:"id,omitempty"`
	Name          string            `json:"name"`
	Type          string            `json:"type,omitempty"`
	URL           string            `json:"url,omitempty"`
	Authorization Authorization     `json:"authorization"`
	Data          map[string]string `json:"data,omitempty"`
}

// IsSystemConnection reports whether e carries the job token.
func (e Endpoint) IsSystemConnection() bool { return strings.EqualFold(e.Name, SystemConnection) }

// Authorization is how an endpoint is entered. Its parameters are secrets.
type Authorization struct {
	Scheme     string            `json:"scheme"`
	Parameters map[string]string `json:"parameters,omitempty"`
}

// Repository is a source repository; Properties are kept as raw JSON because
// some are texts, some objects.
type Repository struct {
	Alias      string                     `json:"alias"`
	Endpoint   *EndpointReference         `json:"endpoint,omitempty"`
	Properties map[string]json.RawMessage `json:"properties,omitempty"`
}

// Text returns the text property name, or "" when it is absent or no text.
func (r Repository) Text(name string) string {
	raw, _ := Lookup(r.Properties, name)
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return ""
	}
	return text
}

// EndpointReference points at an endpoint by id or by name.
type EndpointReference struct {
	ID   string `json:"id,omitempty"`
	Name string `json:"name,omitempty"`
}

// Container is an image that the job, a step or a service runs in.
type Container struct {
	Alias      string              `json:"alias"`
	Endpoint   *EndpointReference  `json:"endpoint,omitempty"`
	Properties ContainerProperties `json:"properties"`
}

// ContainerProperties say how a container is made.
type ContainerProperties struct {
	Image           string            `json:"image"`
	Options         string            `json:"options,omitempty"` // appended to the engine's create command
	Env             map[string]string `json:"env,omitempty"`
	Ports           []string          `json:"ports,omitempty"`
	Volumes         []string          `json:"volumes,omitempty"`
	MapDockerSocket *bool             `json:"mapDockerSocket,omitempty"`
	LocalImage      bool              `json:"localimage,omitempty"` // do not pull
	Command         string            `json:"command,omitempty"`
	ReadOnlyMounts  []string          `json:"readOnlyMounts,omitempty"` // of work, externals, tasks and tools
}

// SecureFile is a file kept by the service. Its ticket is a secret.
type SecureFile struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Ticket string `json:"ticket,omitempty"`
}

// Workspace says what is deleted before the job: outputs, resources or all.
type Workspace struct {
	Clean string `json:"clean,omitempty"`
}

// Variable is a named value of the job.
type Variable struct {
	Value      string `json:"value"`
	IsSecret   bool   `json:"isSecret,omitempty"`
	IsReadOnly bool   `json:"isReadOnly,omitempty"`
}

// MaskHint is something that must not be shown: a regular expression when Type
// is "regex".
type MaskHint struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

// TaskReference names a task at one exact version.
type TaskReference struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Version string `json:"version"`
}

// Major returns the major version of the task, or "" when there is none.
func (t TaskReference) Major() string {
	major, _, _ := strings.Cut(t.Version, ".")
	return major
}

// Step is one entry of the job (protocol §6.5).
type Step struct {
	Type                    StepType          `json:"type,omitempty"`
	ID                      RecordID          `json:"id"`
	Name                    string            `json:"name"`
	DisplayName             string            `json:"displayName"`
	Reference               TaskReference     `json:"reference"`
	Enabled                 *bool             `json:"enabled,omitempty"`   // nil: true
	Condition               string            `json:"condition,omitempty"` // empty: succeeded()
	ContinueOnError         bool              `json:"continueOnError,omitempty"`
	TimeoutInMinutes        int               `json:"timeoutInMinutes,omitempty"` // 0: none
	RetryCountOnTaskFailure int               `json:"retryCountOnTaskFailure,omitempty"`
	Inputs                  map[string]string `json:"inputs,omitempty"`
	Environment             map[string]string `json:"environment,omitempty"`
	Target                  *StepTarget       `json:"target,omitempty"`
}

// StepType is "task" for everything an agent is sent; readers accept 1.
type StepType string

// UnmarshalJSON accepts the name in any case, the number, and null.
func (t *StepType) UnmarshalJSON(data []byte) error {
	return unmarshalEnum("step type", data, []StepType{"", "task", "taskTemplate", "group", "action", "script"}, t)
}

// StepTarget says where a step runs and what its output may command.
type StepTarget struct {
	Target            string             `json:"target,omitempty"`
	Commands          string             `json:"commands,omitempty"` // any or restricted
	SettableVariables *SettableVariables `json:"settableVariables,omitempty"`
}

// SettableVariables limits task.setvariable: an empty list forbids all.
type SettableVariables struct {
	Allowed []string `json:"allowed"`
}

// Decode reads a job message. It strips a byte order mark, and reports a
// message that lacks what no job can run without.
func Decode(body []byte) (*Message, error) {
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	var m Message
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, fmt.Errorf("decoding job message: %w", redact(err))
	}
	var problems []error
	for name, value := range map[string]string{
		"jobId": string(m.JobID), "plan.planId": string(m.Plan.PlanID), "timeline.id": string(m.Timeline.ID),
	} {
		if value == "" {
			problems = append(problems, fmt.Errorf("decoding job message: %s is missing", name))
		}
	}
	for i, s := range m.Steps {
		if s.ID == "" {
			problems = append(problems, fmt.Errorf("decoding job message: steps[%d].id is missing", i))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	return &m, nil
}

// redact keeps where a JSON error happened and drops the value it quotes, which
// may be a secret.
func redact(err error) error {
	if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("member %q at byte %d is of the wrong type", t.Field, t.Offset)
	}
	if s, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("no JSON from byte %d on", s.Offset)
	}
	return errors.New("a member cannot be read")
}

// Endpoint finds the service connection that id names, by id or by name,
// ignoring case.
func (m *Message) Endpoint(id string) (Endpoint, bool) {
	for _, e := range m.Resources.Endpoints {
		if id != "" && (strings.EqualFold(e.ID, id) || strings.EqualFold(e.Name, id)) {
			return e, true
		}
	}
	return Endpoint{}, false
}

// JobToken returns the URL and the token of the system connection; both are
// empty for a job that has no server, as in a replay.
func (m *Message) JobToken() (url, token string) {
	e, _ := m.Endpoint(SystemConnection)
	token, _ = Lookup(e.Authorization.Parameters, "AccessToken")
	return e.URL, token
}

// Repository finds a repository by alias, ignoring case.
func (m *Message) Repository(alias string) (Repository, bool) {
	for _, r := range m.Resources.Repositories {
		if strings.EqualFold(r.Alias, alias) {
			return r, true
		}
	}
	return Repository{}, false
}

// NeedsContainers reports whether the job cannot run without an engine: it runs in
// a container, or a step does, or one runs beside it.
func (m *Message) NeedsContainers() bool {
	return m.JobContainer != "" || len(m.JobSidecarContainers) > 0 || slices.ContainsFunc(m.Steps, func(s Step) bool {
		if s.Target == nil || s.Enabled != nil && !*s.Enabled {
			return false
		}
		_, known := m.Container(s.Target.Target)
		return known
	})
}

// Container finds a container by alias, ignoring case.
func (m *Message) Container(alias string) (Container, bool) {
	for _, c := range m.Resources.Containers {
		if strings.EqualFold(c.Alias, alias) {
			return c, true
		}
	}
	return Container{}, false
}
