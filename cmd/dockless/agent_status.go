package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/settings"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/metrics"
	"github.com/dockless-ci/dockless/internal/recent"
	"github.com/dockless-ci/dockless/internal/retry"
	"github.com/dockless-ci/dockless/internal/statuspage"
	"github.com/dockless-ci/dockless/podmanrun"
	"github.com/dockless-ci/dockless/probe"
)

// pages are what DOCKLESS_HTTP_ADDR answers, until ctx ends.
func (s *agentSettings) pages(ctx context.Context, source *agentSource, m *metrics.Metrics) http.Handler {
	if s.Status.Off() {
		return m.Pages()
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", m.Pages())
	mux.Handle("/", statuspage.New(source, s.Status, ctx.Done()))
	return mux
}

// agentSource is what the status page of an agent shows.
type agentSource struct {
	*recent.Jobs // one that runs and those before

	settings *agentSettings
	states   *agentStates
	podman   *glancing
}

// Overview implements [statuspage.Source].
func (a *agentSource) Overview(_ context.Context, most int) statuspage.Overview {
	s := a.settings
	name := settings.AgentName(s.Agent)
	state, since := a.states.now()
	jobs := a.All()
	o := statuspage.Overview{
		Name: "Agent " + name, Version: version, Server: s.Agent.URL, Metrics: "/metrics", Jobs: jobs[:min(len(jobs), most)], Total: len(jobs),
		Agents: []statuspage.Agent{{Name: name, Pool: s.Agent.Pool, State: string(state), Since: since}},
		Health: healthOf(s.Job.ProbeFile), Stacks: a.podman.stacks(),
	}
	if len(jobs) > 0 && jobs[0].Open() {
		o.Running = jobs[:1]
		o.Agents[0].Job, o.Agents[0].JobName = jobs[0].ID, jobs[0].Name
	}
	return o
}

// healthOf reads the probe page, as the probe does; nil when there is none.
func healthOf(path string) *statuspage.Health {
	if path == "" {
		return nil
	}
	page, err := probe.Open(path)
	if err != nil {
		return &statuspage.Health{Live: statuspage.Verdict{Text: err.Error()}, Ready: statuspage.Verdict{Text: err.Error()}}
	}
	defer func() { _ = page.Close() }() // it always succeeds
	ask := func(q probe.Question) statuspage.Verdict {
		v := page.Ask(q, probe.Query{})
		_, text, _ := strings.Cut(v.Text, ": ")
		return statuspage.Verdict{OK: v.OK, Text: text}
	}
	h := &statuspage.Health{Live: ask(probe.IsLive), Ready: ask(probe.IsReady)}
	for _, s := range page.Slots() {
		h.Slots = append(h.Slots, statuspage.Slot{
			Name: s.Name, State: s.State.String(), Reason: s.Reason.String(), Age: s.Age, Allowed: s.Allowed, Asked: s.State != probe.Stopped,
		})
	}
	return h
}

const (
	// glancePeriod is how old what a page shows of Podman may be: a look costs it
	// some milliseconds for each container.
	glancePeriod = 3 * time.Second
	// glanceBound is the longest look. Nobody waits for it.
	glanceBound = 5 * time.Second
	// glanceKept is how long a page shows what was seen: for three of those who load
	// it every ten seconds. What is older, nobody has looked since or Podman does not
	// answer, may be gone.
	glanceKept = 30 * time.Second
)

// glancing looks at the containers of this agent while somebody looks at the page.
// A page shows what the last look saw, and asks for the next one: Podman, when it is
// busy, takes seconds.
type glancing struct {
	client *podmanrun.Client // nil: there is no Podman
	owner  podmanrun.Owner
	asked  chan struct{} // of one element

	mu   sync.Mutex
	seen []statuspage.Stack
	when time.Time // they were seen
}

func newGlancing(c *podmanrun.Client, agent string) *glancing {
	return &glancing{client: c, owner: podmanrun.Owner{Agent: agent}, asked: make(chan struct{}, 1)}
}

// stacks returns what was seen last, unless that is too long ago.
func (g *glancing) stacks() []statuspage.Stack {
	select {
	case g.asked <- struct{}{}:
	default: // it was asked for
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if time.Since(g.when) > glanceKept {
		return nil
	}
	return g.seen
}

// watch looks when it is asked to, until ctx ends.
func (g *glancing) watch(ctx context.Context) {
	if g.client == nil {
		return
	}
	for {
		select {
		case <-g.asked:
			g.look(ctx)
		case <-ctx.Done():
			return
		}
		if retry.Wait(ctx, glancePeriod) != nil {
			return
		}
	}
}

func (g *glancing) look(ctx context.Context) {
	ctx, cancel := context.WithTimeoutCause(ctx, glanceBound, fmt.Errorf("no answer from Podman within %s", glanceBound))
	defer cancel()
	list, err := g.client.Glance(ctx, g.owner)
	if err != nil {
		return // the loop that asks Podman says so, in the log and on this page
	}
	var seen []statuspage.Stack
	project := ""
	for _, s := range list {
		if n := len(seen); n == 0 || project != s.Project {
			project = s.Project
			seen = append(seen, statuspage.Stack{Name: s.Project})
			if s.Job != "" && strings.HasPrefix(s.Project, "job-"+strings.ToLower(s.Job)) {
				seen[n].Name = "of the job" // its project is a number
			}
		}
		to := &seen[len(seen)-1]
		to.Services = append(to.Services, statuspage.Service{Name: s.Subject(), State: s.State, Health: s.Health})
	}
	g.saw(seen)
}

func (g *glancing) saw(seen []statuspage.Stack) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.seen, g.when = seen, time.Now()
}

// pipelineOf names the pipeline and the run of a job for people. Of a run that is
// named by a secret it says nothing: no mask has seen this text.
func pipelineOf(m *job.Message) string {
	name := m.Variables["system.definitionName"].Value
	if d := m.Plan.Definition; d != nil {
		name = cmp.Or(d.Name, name)
	}
	text := strings.TrimSpace(name + " " + m.Variables["build.buildNumber"].Value)
	for _, v := range m.Variables {
		if v.IsSecret && v.Value != "" && strings.Contains(text, v.Value) {
			return ""
		}
	}
	return text
}
