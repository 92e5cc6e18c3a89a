package pipeline

import (
	"time"

	"github.com/dockless-ci/dockless/internal/expr"
	"github.com/dockless-ci/dockless/internal/job"
)

// DefaultName is the name of the implicit stage, and of the only instance of a job
// without a matrix.
const DefaultName = "__default"

// Source is the pipeline file to load.
type Source struct {
	File    string // path as messages show it, relative to the repository
	Content []byte
	// Open reads a template: repository is self or the alias of a resource, name a path
	// with slashes below its root. Nil means that templates cannot be read.
	Open func(repository, name string) ([]byte, error)
}

// Repository says what checkout: self fetches. Zero fields leave their properties out.
type Repository struct {
	ID            string // GUID, or owner/name on GitHub
	Name          string
	Type          string // Git, GitHub, …; empty: Git
	URL           string // what git fetches: an address or a folder
	Ref           string // for example refs/heads/main
	DefaultBranch string
	Commit        string
	Author        string
	Message       string
}

// Options are what a person or a server gives a run. The zero Options run a pipeline
// that needs nothing.
type Options struct {
	Parameters map[string]string       // text of scalars, YAML of everything else
	Variables  map[string]job.Variable // queue time; a name that the file declares wins
	Groups     map[string]map[string]job.Variable
	Repository Repository
	// Repositories are the others that the file may check out, by alias.
	Repositories map[string]Repository
	Reason       string // Build.Reason; empty: Manual
	RequestedFor string // display name of whoever started the run
	RequestedBy  string // their mail address
	Project      string // System.TeamProject; empty: local
	ProjectID    string // GUID; empty: a fixed one
	Definition   string // Build.DefinitionName; empty: the repository's or file's name
	DefinitionID int    // 0: 1
	BuildID      int    // 0: 1
	BuildNumber  string // empty: made from the file's name format
	Revision     int    // $(Rev:r) of that format; 0: 1
	Counters     *expr.Counters
	// Tasks are tasks that the file may name beside the ones this package knows.
	Tasks []job.TaskReference
	Now   time.Time // start of the run; zero: now
}

// Pipeline is a file that was loaded and checked.
type Pipeline struct {
	Name       string // the run's name: Build.BuildNumber
	Parameters []Parameter
	Stages     []*Stage
	// Warnings are lines about what the file says and this run does not do.
	Warnings []string

	options    Options
	variables  []variable
	containers map[string]*container
	repos      map[string]*repository
	expanded   *node
	implicit   bool // the file has no stages
}

// Stage is a named group of jobs.
type Stage struct {
	Name        string
	DisplayName string
	DependsOn   []string
	Condition   string // empty: succeeded()
	Manual      bool   // trigger: manual; runs only when selected
	Jobs        []*Definition

	variables []variable
	at        *node
}

// Definition is a job as the file declares it. A run makes one [Job] of it, or one for
// each leg of its matrix.
type Definition struct {
	Name        string
	DisplayName string
	DependsOn   []string
	Condition   string // empty: succeeded()
	Pool        Pool
	Steps       []Step
	// Agentless is set for pool: server; such a job cannot run on an agent.
	Agentless bool

	variables       []variable
	continueOnError deferred
	timeout         deferred
	cancelTimeout   deferred
	container       containerUse
	services        []service
	strategy        strategy
	clean           string
	at              *node
}

// Pool says which agents may take a job.
type Pool struct {
	Name    string
	Demands []string
}

// Step is one task of a job, shorthand already resolved.
type Step struct {
	Name        string // unique in its job
	DisplayName string
	Task        string // for example CmdLine@2
	Condition   string // empty: succeeded()
	Inputs      map[string]string
	Environment map[string]string

	reference       job.TaskReference
	named           bool // Name was chosen by the author
	continueOnError deferred
	timeout         deferred
	retries         deferred
	target          *job.StepTarget
	at              *node
}

// isCheckout reports whether the step fetches a repository.
func (s Step) isCheckout() bool { return s.reference.ID == checkoutID }

// variable is one declaration, in the order of the file.
type variable struct {
	name   string
	value  string
	flags  job.Variable // IsSecret and IsReadOnly
	locked bool         // from the file, not from a group
	at     *node
}
