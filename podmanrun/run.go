package podmanrun

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/dockless-ci/dockless/internal/retry"
	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// Streams are what a command in a container is connected to: its zero value is
// nothing.
type Streams = libpod.Streams

// TerminalSize is that of a terminal, in characters.
type TerminalSize = libpod.Size

// RunOptions say what [Client.Run] runs. Empty fields are the service's own.
type RunOptions struct {
	UpOptions // how the dependencies are started

	Service      string
	Command      []string
	Entrypoint   []string // not nil: instead of the service's, also when it is empty
	Name         string   // of the container; empty makes one up
	User         string
	WorkDir      string
	Env          map[string]string // added to the service's
	Labels       map[string]string // added to the service's
	Volumes      []string          // added, as docker takes them; relative paths are not allowed
	Ports        []string          // published, as docker takes them
	ServicePorts bool              // publish the service's ports, which a single command has not otherwise
	Aliases      bool              // be found under the service's names on its networks
	NoDeps       bool              // start no dependencies
	Keep         bool              // leave the container there when its command has ended
	Detach       bool              // return when the command runs; Podman removes the container then
	Streams      Streams
	Ready        func() // called before anything comes out of the command; may be nil
}

// Run runs one command in a container of its own that is made like those of a
// service, once the service's dependencies are as it wants them, and returns the
// command's exit code and the container's name. The container is removed afterwards
// unless it is kept, and in any case when ctx ends; the dependencies go on. The
// hooks of the service are not for it.
//
// When ctx ends, the command gets its stop signal and grace period.
func (c *Client) Run(ctx context.Context, p *Project, o RunOptions) (code int, name string, err error) {
	part, err := p.Only([]string{o.Service}, !o.NoDeps)
	if err != nil {
		return 0, "", err
	}
	if part, name, err = part.withOneOff(o); err != nil {
		return 0, "", err
	}
	one := &oneOff{service: o.Service, streams: o.Streams, detach: o.Detach, remove: o.Detach && !o.Keep}
	options := o.UpOptions
	// The command starts when its conditions are met; what else the dependencies are
	// healthy for is not its business.
	options.oneOff, options.NoWait = one, true
	if _, err := c.Up(ctx, part, options); err != nil {
		return 0, name, errors.Join(err, one.close())
	}
	if o.Ready != nil {
		o.Ready()
	}
	if o.Detach {
		return 0, name, nil
	}
	defer func() {
		if interrupted := err != nil && ctx.Err() != nil; o.Keep && !interrupted {
			return
		}
		ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), cleanupTimeout, errCleanupTimeout)
		defer cancel()
		err = errors.Join(err, c.api.RemoveContainer(ctx, one.id, name, 0))
	}()
	code, err = c.attend(ctx, one, name)
	return code, name, err
}

// Validate reports what can be known to be wrong without Podman.
func (o RunOptions) Validate(p *Project) error {
	part, err := p.Only([]string{o.Service}, !o.NoDeps)
	if err == nil {
		_, _, err = part.withOneOff(o)
	}
	return err
}

// attend carries the streams of a command until it has ended.
func (c *Client) attend(ctx context.Context, one *oneOff, name string) (int, error) {
	sizesCtx, stopSizes := context.WithCancel(ctx)
	var others sync.WaitGroup
	defer others.Wait()
	defer stopSizes()
	if one.streams.TTY && one.streams.Resize != nil {
		others.Go(func() { c.api.FollowSizes(sizesCtx, one.id, one.streams.Resize) })
	}
	ended := make(chan struct{})
	defer close(ended)
	others.Go(func() {
		select {
		case <-ended:
		case <-ctx.Done():
			stopCtx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), one.grace+cleanupTimeout, errCleanupTimeout)
			defer cancel()
			if err := c.api.StopContainer(stopCtx, one.id, name, one.grace); err != nil && !gone(err) {
				c.log.WarnContext(stopCtx, "container not stopped", "container", name, "error", err)
				_ = one.attached.Close() // so that the exchange ends
			}
		}
	})
	// What the command says on its way out is still shown.
	err := one.attached.Exchange(context.WithoutCancel(ctx), one.streams)
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	if err != nil {
		return 0, err
	}
	return c.codeOf(ctx, one.id)
}

// codeOf waits until a container whose output has ended has ended itself.
func (c *Client) codeOf(ctx context.Context, id string) (int, error) {
	for pause := endLook; ; pause = min(2*pause, soonLook) {
		answer, err := c.api.InspectContainer(ctx, id)
		if err != nil {
			return 0, err
		}
		if libpod.Ended(answer.State.Status) {
			return answer.State.ExitCode, nil
		}
		if err := retry.Wait(ctx, pause); err != nil {
			return 0, err
		}
	}
}

// oneOff is a container for one command, on its way up with its dependencies.
type oneOff struct {
	service string
	streams Streams
	detach  bool
	remove  bool // by Podman, when it has ended

	id       string // set once it is to be started
	grace    time.Duration
	attached *libpod.Attachment
}

// launch attaches to the container and starts it, so that nothing it says is lost.
func (o *oneOff) launch(ctx context.Context, n *unit) (err error) {
	o.id, o.grace = n.id, grace(n.service)
	if !o.detach {
		o.attached, err = n.up.client.api.Attach(ctx, n.id, n.request.Name, o.streams.In != nil, o.streams.TTY)
		if err != nil {
			return err
		}
	}
	return n.up.client.start(ctx, n.id, n.request.Name, n.request.Labels)
}

func (o *oneOff) close() error {
	if o.attached == nil {
		return nil
	}
	return o.attached.Close()
}

// isOneOff reports whether the unit is one.
func (n *unit) isOneOff() bool {
	one := n.up.options.oneOff
	return one != nil && one.service == n.name
}

// oneOffRequest marks the request for the container of a single command.
func (u *up) oneOffRequest(service string, r *createRequest) *createRequest {
	if one := u.options.oneOff; one != nil && one.service == service {
		r.Labels[labelOneOff], r.Remove = "true", one.remove
		delete(r.Labels, LabelReplica)
	}
	return r
}

// withOneOff turns the service into what a single command needs, and returns the
// container's name.
func (p *Project) withOneOff(o RunOptions) (*Project, string, error) {
	c := *p.compose
	c.Services, c.Volumes = maps.Clone(c.Services), maps.Clone(c.Volumes)
	s := c.Services[o.Service]
	fail := func(err error) (*Project, string, error) { return nil, "", fmt.Errorf("service %s: %w", s.Name, err) }
	s.SetScale(1)
	s.Restart, s.Deploy = "no", withoutReplicas(s.Deploy)
	s.Tty, s.StdinOpen = o.Streams.TTY, o.Streams.In != nil
	s.PostStart, s.PreStop = nil, nil
	s.Environment, s.Labels = maps.Clone(s.Environment), maps.Clone(s.Labels)
	if s.Environment == nil {
		s.Environment = make(types.MappingWithEquals)
	}
	for name, value := range o.Env {
		s.Environment[name] = &value
	}
	if s.Labels == nil {
		s.Labels = make(types.Labels)
	}
	maps.Copy(s.Labels, o.Labels)
	if len(o.Command) > 0 {
		s.Command = o.Command
	}
	if o.Entrypoint != nil {
		s.Entrypoint = o.Entrypoint
		if len(o.Command) == 0 {
			s.Command = nil
		}
	}
	for to, value := range map[*string]string{&s.User: o.User, &s.WorkingDir: o.WorkDir} {
		if value != "" {
			*to = value
		}
	}
	if !o.ServicePorts {
		s.Ports = nil
	}
	for _, port := range o.Ports {
		if err := publish(&s, port); err != nil {
			return fail(err)
		}
	}
	s.Volumes = append([]types.ServiceVolumeConfig(nil), s.Volumes...)
	for _, volume := range o.Volumes {
		if err := attach(&s, volume); err != nil {
			return fail(err)
		}
		if v := s.Volumes[len(s.Volumes)-1]; v.Type == types.VolumeTypeVolume && v.Source != "" {
			if _, declared := c.Volumes[v.Source]; !declared {
				if c.Volumes == nil {
					c.Volumes = make(types.Volumes)
				}
				c.Volumes[v.Source] = types.VolumeConfig{Name: c.Name + "_" + v.Source}
			}
		}
	}
	s.Networks = ownAddresses(s.Networks, o.Aliases)
	s.ContainerName = o.Name
	if s.ContainerName == "" {
		var random [4]byte
		_, _ = rand.Read(random[:]) // never fails
		s.ContainerName = c.Name + "-" + s.Name + "-run-" + hex.EncodeToString(random[:])
	}
	if o.NoDeps {
		s.DependsOn = nil
	}
	c.Services[o.Service] = s
	for key, err := range checkProject(&types.Project{Name: c.Name, WorkingDir: c.WorkingDir, Services: types.Services{o.Service: s}, Configs: c.Configs, Secrets: c.Secrets, Networks: c.Networks}) {
		return nil, "", fmt.Errorf("%s: %w", key, err)
	}
	return p.with(&c), s.ContainerName, nil
}

func withoutReplicas(d *types.DeployConfig) *types.DeployConfig {
	if d == nil {
		return nil
	}
	c := *d
	c.Replicas, c.RestartPolicy = nil, nil
	return &c
}

// ownAddresses are the networks of a service without what only one container can
// have, and without its names unless aliases are wanted.
func ownAddresses(networks map[string]*types.ServiceNetworkConfig, aliases bool) map[string]*types.ServiceNetworkConfig {
	out := make(map[string]*types.ServiceNetworkConfig, len(networks))
	for key, n := range networks {
		var c types.ServiceNetworkConfig
		if n != nil {
			c = *n
		}
		c.Ipv4Address, c.Ipv6Address, c.MacAddress = "", "", ""
		if !aliases {
			no := false
			c.Aliases, c.UseServiceNameAlias = nil, &no
		}
		out[key] = &c
	}
	return out
}

// gone reports whether a refusal says that a container does not run, or is not
// there any more.
func gone(err error) bool {
	return libpod.HasStatus(err, http.StatusNotFound) || doesNotRun(err)
}

// doesNotRun reports whether a refusal says that a container does not run.
func doesNotRun(err error) bool { return libpod.HasStatus(err, http.StatusConflict) }
