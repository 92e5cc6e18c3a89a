package runner

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/google/shlex"
	"go.opentelemetry.io/otel/attribute"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/span"
	"github.com/dockless-ci/dockless/podmanrun"
)

// project returns the name of the stack of the job's services. A job of a pipeline
// has the same id in every run, so agent and plan are in it, too: several agents
// may share one Podman.
func (x *execution) project() string {
	sum := sha256.Sum256([]byte(x.cfg.AgentName + "\n" + strings.ToLower(string(x.m.Plan.PlanID))))
	return fmt.Sprintf("job-%.36s-%x", strings.ToLower(string(x.m.JobID)), sum[:6])
}

func (x *execution) owner() podmanrun.Owner {
	return podmanrun.Owner{Agent: x.cfg.AgentName, Job: string(x.m.JobID)}
}

// startContainers starts the containers that steps run in, and those beside them.
func (x *execution) startContainers(ctx context.Context, a *attempt) error {
	if x.cfg.Podman == nil {
		return hint.With(errors.New("the job has containers, and this agent has no Podman service to run them"),
			"set CONTAINER_HOST to the address of a Podman service")
	}
	services, err := x.services(ctx)
	if err != nil {
		return err
	}
	prospects, err := x.prospects(ctx, services)
	if err != nil {
		return err
	}
	for name, p := range prospects {
		services[name] = p.service
	}
	project, err := podmanrun.Services(x.project(), services)
	if err != nil {
		return fmt.Errorf("reading the containers of the job: %w", err)
	}
	for _, w := range project.Warnings() {
		a.node.warning(w)
	}
	auth, err := x.credentials(x.cfg.DockerConfig)
	if err != nil {
		return err
	}
	stack, err := x.cfg.Podman.Up(ctx, project, podmanrun.UpOptions{
		Owner: x.owner(), Credentials: auth.Login,
		Progress: func(e podmanrun.Event) { a.event(e) },
	})
	if err != nil {
		if s, ok := errors.AsType[*podmanrun.ServiceError](err); ok {
			if details := s.Details(); details != "" {
				a.node.print(details)
			}
		}
		return x.blameTools(fmt.Errorf("starting the containers of the job: %w", err))
	}
	x.watchServices(stack)
	if err := x.publish(a, stack, services); err != nil {
		return err
	}
	return x.move(ctx, stack, prospects)
}

// services describes the containers that run beside the steps.
func (x *execution) services(ctx context.Context) (map[string]podmanrun.Service, error) {
	services := make(map[string]podmanrun.Service, len(x.m.JobSidecarContainers))
	for _, name := range slices.Sorted(maps.Keys(x.m.JobSidecarContainers)) {
		c, ok := x.m.Container(x.m.JobSidecarContainers[name])
		if !ok {
			return nil, fmt.Errorf("service %s: the job has no container %s", name, x.m.JobSidecarContainers[name])
		}
		s, err := x.service(ctx, c)
		if err != nil {
			return nil, fmt.Errorf("service %s: %w", name, err)
		}
		if socket := x.dockerSocket(); socket != "" && c.Properties.MapDockerSocket != nil && *c.Properties.MapDockerSocket {
			s.Volumes = append(s.Volumes, socket+":"+insideSocket)
		}
		services[name] = s
	}
	return services, nil
}

// watchServices keeps the healthchecks of the services going while the steps
// run, and notes on the job when one of them fails. It goes on until
// stopWatching.
func (x *execution) watchServices(stack *podmanrun.Stack) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(x.hard))
	var watch sync.WaitGroup
	watch.Go(func() {
		stack.Watch(ctx, func(e podmanrun.Event) {
			switch e.Kind {
			case podmanrun.EventWarning:
				x.node.warning(fmt.Sprintf("Service %s: %s", e.Subject(), e.Text))
			case podmanrun.EventExited:
				x.node.warning(fmt.Sprintf("Service %s ended with exit code %s while the steps ran.", e.Subject(), e.Text))
			case podmanrun.EventUnhealthy:
				x.node.warning(fmt.Sprintf("Service %s turned unhealthy while the steps ran.", e.Subject()))
			}
		})
	})
	x.stopWatching = func() {
		cancel()
		watch.Wait()
	}
}

// service returns the container c as podmanrun takes it, with macros expanded.
func (x *execution) service(ctx context.Context, c job.Container) (podmanrun.Service, error) {
	expand := func(texts []string) []string {
		out := make([]string, len(texts))
		for i, text := range texts {
			out[i] = x.expand(text)
		}
		return out
	}
	p := c.Properties
	s := podmanrun.Service{
		Image: x.expand(p.Image), Options: x.expand(p.Options), LocalImage: p.LocalImage,
		Ports: expand(p.Ports), Volumes: expand(p.Volumes), Env: make(map[string]string, len(p.Env)),
	}
	for name, value := range p.Env {
		if s.Env[name] = x.expand(value); value == "" {
			s.Env[name], _ = x.cfg.environ(name) // what -e NAME means
		}
	}
	if c.Endpoint != nil {
		r, err := x.registryAt(cmp.Or(c.Endpoint.ID, c.Endpoint.Name), "")
		if err == nil {
			err = x.enter(ctx, r)
		}
		if err == nil && r.keyless {
			err = x.identify(ctx, r)
		}
		if err != nil {
			return s, err
		}
		if r.has(s.Image) { // or another registry would see them, and refuse what it gives to anybody
			s.Login = podmanrun.Login{User: r.user, Password: r.password}
		}
	}
	command, err := shlex.Split(x.expand(p.Command))
	if err != nil {
		return s, fmt.Errorf("reading its command: %w", err)
	}
	s.Command = command
	return s, nil
}

// event writes what happens to a service into the log.
func (a *attempt) event(e podmanrun.Event) {
	text := string(e.Kind)
	if e.Kind != podmanrun.EventPulling { // of which there are many
		span.Event(a.ctx, "service "+text, attribute.String("dockless.service", e.Service))
	}
	if e.Text != "" {
		text += ": " + e.Text
	}
	if e.Service != "" {
		text = e.Subject() + ": " + text
	}
	if e.Kind == podmanrun.EventWarning {
		a.node.warning(text)
		return
	}
	a.node.print(text)
}

// publish tells the steps where the services are: as environment entries and
// as agent.services.<name>.ports.<port>, and what the containers are.
func (x *execution) publish(a *attempt, stack *podmanrun.Stack, services map[string]podmanrun.Service) error {
	where := stack.Environment()
	x.mu.Lock()
	x.stack, x.inner = where, stack.Inside()
	x.mu.Unlock()
	for name, value := range where {
		x.define(name, value)
	}
	containers := make(map[string]map[string]string)
	for _, name := range slices.Sorted(maps.Keys(services)) {
		containers[name] = map[string]string{"id": stack.ContainerID(name)}
	}
	x.define("agent.containerMapping", toJSON(containers))
	x.define("agent.containerNetwork", stack.Network())
	statuses, err := x.cfg.Podman.Ps(context.WithoutCancel(a.ctx), stack.Project())
	if err != nil {
		return fmt.Errorf("asking for the ports of the services: %w", err)
	}
	for _, s := range statuses {
		for _, p := range s.Ports {
			x.define(fmt.Sprintf("agent.services.%s.ports.%d", s.Service, p.Container), fmt.Sprint(p.Host))
		}
	}
	return nil
}

// stopContainers removes the containers of the job.
func (x *execution) stopContainers(ctx context.Context, a *attempt) error {
	if x.cfg.Podman == nil {
		return nil
	}
	if x.stopWatching != nil {
		x.stopWatching()
	}
	err := x.cfg.Podman.Down(ctx, x.project(), podmanrun.DownOptions{
		Owner: x.owner(), Volumes: true, Progress: func(e podmanrun.Event) { a.event(e) },
	})
	if err != nil {
		return fmt.Errorf("stopping the containers of the job: %w", err)
	}
	return x.endContainers(ctx)
}

// removeOwned removes what a script of the job started and left behind.
func (x *execution) removeOwned(ctx context.Context, n *node) error {
	if x.cfg.Podman == nil {
		return nil
	}
	removed, err := x.cfg.Podman.RemoveOwned(ctx, x.owner())
	for _, name := range removed.Containers {
		n.print("Removed container " + name + ".")
	}
	if err != nil {
		return fmt.Errorf("removing the containers of the job: %w", err)
	}
	return nil
}
