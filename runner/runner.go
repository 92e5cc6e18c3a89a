package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/mask"
	"github.com/dockless-ci/dockless/runner/internal/cgroup"
	"github.com/dockless-ci/dockless/runner/internal/conceal"
	"github.com/dockless-ci/dockless/runner/internal/mounts"
	"github.com/dockless-ci/dockless/runner/internal/process"
	"github.com/dockless-ci/dockless/runner/internal/taskstore"
	"github.com/dockless-ci/dockless/runner/internal/vars"
)

const (
	// cleanupTimeout bounds what is removed at the end of a job.
	cleanupTimeout = 30 * time.Second
	// reportTime is what a canceled job keeps of its grace to end its last
	// process (10 s) and read its output (5 s). A test run that is being published is
	// aborted in at most 5 s ([TestService]), beside the process.
	reportTime = 15 * time.Second
)

var errCleanup = fmt.Errorf("cleaning up took longer than %s", cleanupTimeout)

// execution is one job being run.
type execution struct {
	cfg Config
	// minute is one of a step's timeout.
	minute time.Duration
	log    *slog.Logger
	m      *job.Message
	rep    Reporter
	masks  *mask.Set
	full   atomic.Bool // somebody was told that masks is full
	vars   *vars.Store
	hard   context.Context //nolint:containedctx // ends when a canceled job has used up its grace

	node    *node // the job's own record
	order   int   // of the record that was made last
	paths   []string
	folders folders
	sees    mounts.Table // what containers that steps run in see of them; empty when there are none
	user    string       // who runs the processes in those
	docker  dockerSession
	socket  dockerSocket
	// correlation is told to downloaded tasks, not to scripts: a command that echoes
	// it comes from a task.
	correlation string

	repos   map[string]string // alias of a repository → its checkout directory
	entries []*entry

	packages map[string]taskstore.Task // downloaded tasks, by packageKey
	nodejs   nodejs                    // runs them; zero while there are none

	veil         *conceal.Veil // over the files that no process of the job may read; nil: none
	groups       *cgroup.Job   // accounts the processes of each step; nil: none was made
	stopWatching func()        // ends the watch over the services; nil while there is none

	mu         sync.Mutex // guards what follows
	result     job.Result
	watched    map[context.Context]string // the names of the parts that run, by their contexts
	between    int                        // looks of the supervisor since none of them runs
	stack      map[string]string          // where the job's services are, for the environment
	inner      map[string]string          // where containers of the job find them
	containers map[string]*container      // that steps run in, by alias; empty while they do not run
	outputs    map[string]string
	builds     []job.BuildReport
}

// Run runs the job in m and tells rep about it. When ctx ends, its [job.Stop]
// says how the job ends: canceled, so that steps which want to may still run,
// or at once. Run returns when no process of the job is left. It returns an
// error when the result could not be found out; a failed job is no error.
func (r *Runner) Run(ctx context.Context, m *job.Message, rep Reporter) (_ Outcome, err error) {
	x := &execution{
		cfg: r.cfg, minute: r.minute, log: r.log.With("job_id", m.JobID), m: withOwnEndpoints(m), rep: rep,
		masks: mask.NewSet(mask.MinLength(shortest(r.cfg))), outputs: make(map[string]string),
		repos: make(map[string]string), correlation: uuid.NewString(),
	}
	x.docker.insecure = slices.Clone(r.cfg.Insecure)
	x.vars = vars.New(func(value string) { x.masks.Add(value) })
	hard, end := context.WithCancelCause(context.WithoutCancel(ctx))
	x.hard = hard
	var watch sync.WaitGroup
	over := make(chan struct{}) // closed below
	watch.Go(func() { x.supervise(ctx, end, over) })
	defer watch.Wait()
	defer close(over)
	defer end(errOver)
	defer func() { err = errors.Join(err, x.veil.Close()) }() // also when something panics
	return x.run(ctx)
}

var errOver = errors.New("the job is over")

// run leads the job from its first record to its last.
func (x *execution) run(ctx context.Context) (Outcome, error) {
	x.node = x.newNode(x.m.JobID.Record(), job.TypeJob, x.m.JobDisplayName, x.m.JobName, 0)
	hintProblems := x.registerSecrets()
	ctx, s := x.startSpan(ctx)
	x.log.InfoContext(ctx, "job started", "steps", len(x.m.Steps))
	x.node.start()
	began := time.Now()
	if x.initialize(ctx, hintProblems) {
		x.runEntries(ctx)
	}
	stop := job.StopOf(ctx) // a stop that comes later changes nothing any more
	x.finalize(ctx)
	if stop != nil {
		x.merge(job.Canceled)
		x.node.error(stop)
	}
	out := x.outcome()
	endSpan(s, x.node, out.Result)
	x.node.complete(out.Result, "")
	x.log.InfoContext(ctx, "job ended", "result", out.Result, "duration", time.Since(began))
	return out, nil
}

// merge takes the result of a step into that of the job.
func (x *execution) merge(r job.Result) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.result = x.result.Merge(r)
}

// status is the job's status as conditions see it.
func (x *execution) status(ctx context.Context) job.Result {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return job.Canceled
	case x.result == "":
		return job.Succeeded
	}
	return x.result
}

// outcome collects what is known of the job at its end.
func (x *execution) outcome() Outcome {
	x.mu.Lock()
	defer x.mu.Unlock()
	out := Outcome{Result: x.result, Outputs: x.outputs, Variables: make(map[string]string), Builds: x.builds}
	if out.Result == "" {
		out.Result = job.Succeeded
	}
	for _, v := range x.vars.All() {
		if !v.Secret {
			out.Variables[x.masks.Mask(v.Name)] = x.masks.Mask(v.Value)
		}
	}
	return out
}

// finalize ends what the job left behind, in a record of its own.
func (x *execution) finalize(ctx context.Context) {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), cleanupTimeout, errCleanup)
	defer cancel()
	defer x.watch(ctx, "Finalize Job")()
	if x.stopWatching != nil {
		x.stopWatching()
	}
	n := x.child(job.NewRecordID(), "Finalize Job", "JobExtension_Final")
	n.start()
	ctx, s := startSpan(ctx, "Finalize Job")
	n.print("##[section]Starting: Finalize Job")
	result := job.Succeeded
	fail := func(err error) {
		if err != nil {
			n.warning(err.Error())
			result = job.SucceededWithIssues
		}
	}
	if x.vars.Bool("process.clean", true) {
		n.print("Ending processes that the job left behind.")
		ended, err := process.KillLeftovers(ctx, LookupID(x.cfg.AgentName, x.m.JobID))
		for _, p := range ended {
			n.print(fmt.Sprintf("Ended process %d (%s).", p.PID, p.Name))
		}
		fail(err)
	}
	fail(x.closeDocker(ctx))
	fail(x.closeGroups(ctx, n))
	fail(x.removeOwned(ctx, n))
	fail(x.endContainers(ctx))
	fail(x.folders.emptyTemp(ctx))
	n.print("##[section]Finishing: Finalize Job")
	endSpan(s, n, result)
	n.complete(result, "")
}

// Leftover is a process that outlived its job.
type Leftover = process.Leftover

// LookupID returns the mark that the processes of a job carry in their
// environment as VSTS_PROCESS_LOOKUP_ID. It depends on the agent's name and the
// job's id only, so that the next start of the agent finds them again.
func LookupID(agent string, id job.ID) string {
	return "vsts_" + uuid.NewSHA1(uuid.NameSpaceURL, []byte("dockless:"+agent+"\n"+strings.ToLower(string(id)))).String()
}

// KillLeftovers ends the processes of a dead job of this agent that are still alive,
// returns them, and removes the control groups they were in. The runner does so for
// itself at the end of each job; after a crash the next start does.
func KillLeftovers(ctx context.Context, agent string, id job.ID) ([]Leftover, error) {
	ended, err := process.KillLeftovers(ctx, LookupID(agent, id))
	cgroup.RemoveLeftovers(ctx, cgroup.Here(), agent, string(id))
	return ended, err
}
