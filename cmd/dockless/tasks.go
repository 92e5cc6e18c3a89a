package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/agent"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/console"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/settings"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/logging"
	"github.com/dockless-ci/dockless/runner"
)

// keepTimeout bounds how long an agent that starts spends on packages for later:
// the time limit of one (protocol §8.3).
const keepTimeout = 20 * time.Minute

var errKeepTimeout = fmt.Errorf("keeping the packages of tasks took longer than %s", keepTimeout)

func newTasksCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tasks",
		Short: "Keep the packages of pipeline tasks before a job needs them",
		Long: `tasks deals with the packages of tasks that are not built in. Agents download one
when the first job names it; kept in DOCKLESS_TASK_STORE, a folder on a volume or
in an image, it is there for every agent at once. Agents only read that folder:
mount it read-only for them, as jobs can write what their agent can.`,
		Args: cmdline.KnownCommand,
		RunE: cmdline.ShowHelp,
	}
	cmd.AddCommand(newTasksFetchCommand())
	return cmd
}

func newTasksFetchCommand() *cobra.Command {
	var store, output string
	cmd := &cobra.Command{
		Use:   "fetch [TASK@VERSION]...",
		Short: "Download the packages of tasks into the task store",
		Long: `fetch downloads packages into DOCKLESS_TASK_STORE, or the folder of --store. A task
is named as in a pipeline, by name or id and its major version (Npm@1, which brings
the newest of that major) or an exact one (Npm@1.275.0). Without arguments it is
those of DOCKLESS_TASKS. What is there already is checked and left.

It needs AZP_URL and the agent's credential, neither BuildKit nor Podman. It exits
with 1 when a package could not be had; the others are.`,
		Example: `  dockless tasks fetch --store /opt/tasks Npm@1 UseNode@1
  DOCKLESS_TASKS=Npm@1,UseNode@1 dockless tasks fetch --output json`,
		RunE: func(cmd *cobra.Command, names []string) error {
			if err := cmdline.OneOf("--output", output, "text", "json"); err != nil {
				return err
			}
			var s agentSettings
			if err := s.LoadSignIn(settings.Unchecked(&s.Runner), &s.Job); err != nil {
				return err
			}
			s.Runner.TaskStore = cmp.Or(store, s.Runner.TaskStore)
			if len(names) == 0 {
				names = s.Job.Tasks
			}
			switch {
			case s.Runner.TaskStore == "":
				return hint.With(cmdline.Usagef("there is no folder to keep packages in"), "set DOCKLESS_TASK_STORE, or use --store")
			case len(names) == 0:
				return hint.With(cmdline.Usagef("no task is named"), "name some, for example Npm@1, or set DOCKLESS_TASKS")
			}
			log := logging.New(cmd.ErrOrStderr(), settings.Quieter(s.Log))
			in, err := openSignIn(&s, log)
			if err != nil {
				return err
			}
			defer in.close()
			a, err := agent.New(s.Agent, nil, in.deps(s.agentDeps(log)))
			if err != nil {
				return cmdline.Unusable(err)
			}
			kept, err := keepTasks(cmd.Context(), a, s.Runner, names, false, log)
			if perr := printKept(cmd.OutOrStdout(), output, s.Runner.TaskStore, kept); err == nil {
				err = perr
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&store, "store", "", "`FOLDER` to keep packages in (DOCKLESS_TASK_STORE)")
	flags.StringVar(&output, "output", "text", "`FORM`: text or json")
	cmdline.CompleteWords(cmd, "output", "text", "json")
	return cmd
}

// keptTask is a task whose package is there, or why it is not.
type keptTask struct {
	Asked   string `json:"asked"`
	Name    string `json:"name,omitempty"`
	ID      string `json:"id,omitempty"`
	Version string `json:"version,omitempty"`
	Problem string `json:"problem,omitempty"`
}

// keepTasks keeps the packages that names mean, and returns what became of each.
func keepTasks(ctx context.Context, a *agent.Agent, c runner.Config, names []string, work bool, log *slog.Logger) ([]keptTask, error) {
	client, closeIdle, err := a.Tasks()
	if err != nil {
		return nil, err
	}
	defer closeIdle()
	offered, err := client.TaskVersions(ctx)
	if err != nil {
		return nil, err
	}
	tell := func(text string) { log.InfoContext(ctx, "task store", "event", text) }
	warn := func(text string) { log.WarnContext(ctx, "task store", "event", text) }
	var kept []keptTask
	var problems []error
	for _, name := range names {
		k := keptTask{Asked: name}
		ref, err := choose(offered, name)
		if err == nil {
			k.Name, k.ID, k.Version = ref.Name, ref.ID, ref.Version
			err = c.KeepTask(ctx, client, ref, work, tell, warn)
		}
		if err != nil {
			k.Problem = err.Error()
			problems = append(problems, err)
		}
		kept = append(kept, k)
		if ctx.Err() != nil {
			break
		}
	}
	return kept, errors.Join(problems...)
}

// choose finds the task that name means among those of the server: the newest
// version of a major, or an exact one.
func choose(offered []job.TaskReference, name string) (job.TaskReference, error) {
	task, version, ok := strings.Cut(strings.TrimSpace(name), "@")
	if !ok || task == "" || version == "" {
		return job.TaskReference{}, hint.With(cmdline.Usagef("%q names no task at a version", name), "write it as in a pipeline, for example Npm@1")
	}
	var found job.TaskReference
	for _, ref := range offered {
		if !strings.EqualFold(ref.Name, task) && !strings.EqualFold(ref.ID, task) {
			continue
		}
		if ref.Version == version {
			return ref, nil
		}
		if ref.Major() == version && (found.Version == "" || slices.Compare(numbers(ref.Version), numbers(found.Version)) > 0) {
			found = ref
		}
	}
	if found.Version == "" {
		return job.TaskReference{}, fmt.Errorf("the server has no task %s in version %s", task, version)
	}
	return found, nil
}

// numbers returns the parts of a version; what is no number is zero.
func numbers(version string) []int {
	var parts []int
	for text := range strings.SplitSeq(version, ".") {
		n, err := strconv.Atoi(text)
		if err != nil {
			n = 0
		}
		parts = append(parts, n)
	}
	return parts
}

func printKept(w io.Writer, output, store string, kept []keptTask) error {
	if output == "json" {
		if kept == nil {
			kept = []keptTask{}
		}
		return console.PrintJSON(w, map[string]any{"store": store, "tasks": kept})
	}
	table := console.NewTable(w)
	console.Say(table, "TASK\tVERSION\tID\n")
	for _, k := range kept {
		if k.Problem == "" {
			console.Say(table, "%s\t%s\t%s\n", k.Name, k.Version, k.ID)
		}
	}
	return table.Flush()
}

// keepBeside keeps the packages of DOCKLESS_TASKS while the agent starts. What it
// cannot have is downloaded by the job that needs it, so a failure is only told.
func keepBeside(ctx context.Context, a *agent.Agent, s *agentSettings, log *slog.Logger) {
	s.warnOfTaskStore(ctx, log)
	if len(s.Job.Tasks) == 0 {
		return
	}
	ctx, cancel := context.WithTimeoutCause(ctx, keepTimeout, errKeepTimeout)
	defer cancel()
	kept, err := keepTasks(ctx, a, s.Runner, s.Job.Tasks, true, log)
	count := 0
	for _, k := range kept {
		if k.Problem == "" {
			count++
		}
	}
	if err != nil {
		log.WarnContext(ctx, "not every task of DOCKLESS_TASKS is kept", "kept", count, "error", err)
		return
	}
	log.InfoContext(ctx, "tasks are kept for later jobs", "kept", count)
}

// warnOfTaskStore tells of a task store that jobs can change.
func (s *agentSettings) warnOfTaskStore(ctx context.Context, log *slog.Logger) {
	if s.Runner.TaskStore == "" {
		return
	}
	const advice = "fill it with dockless tasks fetch, and mount it read-only for agents"
	dir, err := s.Runner.WritableTaskStore()
	switch {
	case err != nil:
		log.WarnContext(ctx, "the task store cannot be looked at", "error", err, "hint", advice)
	case dir != "":
		log.WarnContext(ctx, "jobs can change the packages in the task store", "folder", dir, "hint", advice)
	}
}
