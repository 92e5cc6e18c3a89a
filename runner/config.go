package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"

	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/imagebuild"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/mask"
	"github.com/dockless-ci/dockless/internal/registryauth"
	"github.com/dockless-ci/dockless/podmanrun"
	"github.com/dockless-ci/dockless/runner/internal/conceal"
	"github.com/dockless-ci/dockless/runner/internal/process"
)

// Config is what a [Runner] needs to know. Fields without an envconfig tag are
// set by the caller.
type Config struct {
	Work        string `envconfig:"AZP_WORK" default:"_work" desc:"work folder of the jobs"`
	NativeTasks string `envconfig:"DOCKLESS_NATIVE_TASKS" default:"on" desc:"on runs the built-in version of a task where there is one; off runs the package that the server has, if it has one that can run here"`
	CacheDir    string `envconfig:"DOCKLESS_CACHE_DIR" desc:"directory of what Cache@2 keeps, which agents on one volume may share; empty is _caches in the work folder"`
	CacheSize   string `envconfig:"DOCKLESS_CACHE_DIR_SIZE" default:"10GiB" desc:"what all caches in DOCKLESS_CACHE_DIR may take, for example 500MiB; those that were not used for longest are removed first"`
	Node        string `envconfig:"DOCKLESS_NODE" default:"node" desc:"program of Node.js 16 or later that runs downloaded tasks; a name without a slash is looked for on PATH"`
	TaskStore   string `envconfig:"DOCKLESS_TASK_STORE" desc:"folder of packages of tasks, kept by content, from which agents take what they would download; only dockless tasks fetch writes it, so mount it read-only for agents; empty is none"`
	GitMirrors  string `envconfig:"DOCKLESS_GIT_MIRRORS" desc:"directory for copies of repositories, shared by the agents of one volume, from which a new workspace takes what the server does not have to send again; jobs can read it; empty keeps none"`

	AgentName    string `ignored:"true"` // also the owner of a job's containers and processes
	AgentID      int    `ignored:"true"`
	AgentVersion string `ignored:"true"` // three numbers: tasks compare it
	MachineName  string `ignored:"true"`
	Home         string `ignored:"true"` // directory of the agent itself; empty is the work folder's parent
	Once         bool   `ignored:"true"` // the agent ends after this job

	// Environment is what steps inherit, as NAME=value, without our own secrets.
	Environment []string `ignored:"true"`
	// Secrets are masked in every job besides its own.
	Secrets []mask.Secret `ignored:"true"`
	// Hidden are files that no process of a job can read. [CheckHidden] says
	// whether that is possible; where it is not, every job fails.
	Hidden []string `ignored:"true"`
	// Path lists directories that come before PATH, first one first.
	Path []string `ignored:"true"`
	// Git is the git program; empty finds git on PATH.
	Git string `ignored:"true"`
	// Tasks fetches the packages of tasks that are not built in; nil: there is no
	// server, and a step that needs one fails the job.
	Tasks TaskSource `ignored:"true"`
	// Wait is what the job has behind it, for its trace; zero when it is not known.
	Wait job.Wait `ignored:"true"`
	// Tests takes test results and coverage; nil: there is no server, and they are
	// only counted.
	Tests TestService `ignored:"true"`
	// Builds keeps the run and its artifacts; nil: there is no server, and a step
	// that needs one fails.
	Builds BuildService `ignored:"true"`
	// Nodes remembers the version of Node from one job to the next; nil: it is
	// asked for in each job that needs it.
	Nodes *NodeVersions `ignored:"true"`
	// Network is what tasks are told of the way to servers.
	Network TaskNetwork `ignored:"true"`
	// DockerConfig is the directory of the Docker configuration whose
	// credentials builds and pushes use; empty is none.
	DockerConfig string `ignored:"true"`
	// Registries enters registries of clouds with the identity of the agent or with
	// that of a service connection; nil: a step that needs one fails.
	Registries *registryauth.Cloud `ignored:"true"`

	// Podman runs the containers of a job and beside it; nil: a job with any fails.
	Podman *podmanrun.Client `ignored:"true"`
	// Launcher is a static program that is [launch.Serve] when it is started with
	// [launch.Command]: it runs in the containers of a job. Empty: a job that runs
	// in one fails.
	Launcher string `ignored:"true"`
	// Builder builds images; nil: a step that builds one fails.
	Builder *imagebuild.Builder `ignored:"true"`
	// Insecure names registries, host[:port], that are spoken to without TLS or
	// with an unchecked certificate.
	// Those on localhost and those of connections with http:// need no mention.
	Insecure []string `ignored:"true"`
	// CacheRepo is the repository prefix of build caches; empty is no cache.
	CacheRepo string `ignored:"true"`
	// CacheExport says when these are exported.
	CacheExport buildcache.Mode `ignored:"true"`

	// Beat is called by the loop that supervises a job, at least every
	// [MaxStepSilence] while running is true, however long a step takes, and with
	// running false once at the end. It must not block. Nil: nobody.
	Beat func(running bool) `ignored:"true"`

	// Interrupt and Terminate are how long processes may take to end after SIGINT
	// and after SIGTERM. When both are zero, they are what the service documents:
	// 7.5 s and 2.5 s.
	Interrupt, Terminate time.Duration `ignored:"true"`
}

// Validate reports all settings that cannot be used.
func (c Config) Validate() error {
	var problems []error
	if c.Work == "" {
		problems = append(problems, errors.New("AZP_WORK is empty"))
	}
	if c.NativeTasks != "on" && c.NativeTasks != "off" {
		problems = append(problems, fmt.Errorf("DOCKLESS_NATIVE_TASKS is %q, want on or off", c.NativeTasks))
	}
	if _, err := c.cacheSize(); err != nil {
		problems = append(problems, err)
	}
	if c.AgentName == "" {
		problems = append(problems, errors.New("the agent has no name"))
	}
	return errors.Join(problems...)
}

// cacheSize is what caches may take, in bytes; an empty setting is nothing.
func (c Config) cacheSize() (int64, error) {
	if c.CacheSize == "" {
		return 0, nil
	}
	n, err := units.RAMInBytes(c.CacheSize)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("DOCKLESS_CACHE_DIR_SIZE is %q, want a size such as 10GiB", c.CacheSize)
	}
	return n, nil
}

// CheckHidden returns nil when files can be hidden from jobs here, as
// [Config.Hidden] wants it, or the reason why not, with a hint.
func CheckHidden(files []string) error { return conceal.Check(files) }

// Reporter is told what happens in a job: Azure DevOps in an agent, the
// terminal in a replay. Its methods are called concurrently. Everything it is
// given is masked, except the values of variables marked secret.
type Reporter interface {
	// UpdateRecord queues a change of a record. It never waits for a network.
	UpdateRecord(job.Record)
	// WriteLine takes one line of the log of a record, without its ending. The
	// slice is valid during the call only. It may block, which holds the step up.
	WriteLine(record job.RecordID, line []byte)
	// Attach queues a file that belongs to a record. It may block until ctx ends,
	// which drops the file.
	Attach(ctx context.Context, record job.RecordID, a job.Attachment)
	// Waits reports whether one of these calls waits because the server does not take
	// what it is sent. The step that made it cannot end then, and is not stuck.
	Waits() bool
}

// Outcome is what is known of a job that ended.
type Outcome struct {
	Result    job.Result
	Outputs   map[string]string // "step.variable" → value, without secrets
	Variables map[string]string // the plain variables at the end, masked
	Builds    []job.BuildReport
}

// Runner runs jobs, one or several at a time; each needs a work folder of its
// own while it runs, so concurrent jobs take Runners with different ones.
type Runner struct {
	cfg    Config
	log    *slog.Logger
	minute time.Duration // of a step's timeout: shorter in tests
}

// New returns a Runner. It fails when cfg does not validate.
func New(cfg Config, log *slog.Logger) (*Runner, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	work, err := filepath.Abs(cfg.Work)
	if err != nil {
		return nil, fmt.Errorf("finding the work folder %s: %w", cfg.Work, err)
	}
	cfg.Work = work
	if cfg.GitMirrors != "" {
		if cfg.GitMirrors, err = filepath.Abs(cfg.GitMirrors); err != nil {
			return nil, fmt.Errorf("finding the directory of mirrors %s: %w", cfg.GitMirrors, err)
		}
	}
	if cfg.Home == "" {
		cfg.Home = filepath.Dir(work)
	}
	if cfg.Interrupt == 0 && cfg.Terminate == 0 {
		cfg.Interrupt, cfg.Terminate = process.DefaultLadder.Interrupt, process.DefaultLadder.Terminate
	}
	return &Runner{cfg: cfg, log: log, minute: time.Minute}, nil
}

// environ returns the value of an inherited environment entry.
func (c Config) environ(name string) (string, bool) {
	for _, entry := range slices.Backward(c.Environment) {
		if key, value, ok := strings.Cut(entry, "="); ok && key == name {
			return value, true
		}
	}
	return "", false
}
