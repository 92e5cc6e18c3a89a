package podmanrun

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/dockless-ci/dockless/internal/hint"
)

// Only returns the part of p that is services, and with dependencies what they
// depend on and is active; naming no service is all of p. A service that no active
// profile has can only be named when [LoadOptions].Services did so, too. Containers
// of the others are then left alone by [Client.Up].
func (p *Project) Only(services []string, dependencies bool) (*Project, error) {
	if len(services) == 0 && dependencies {
		return p, nil
	}
	all := p.compose.AllServices()
	if len(services) == 0 {
		services = p.ServiceNames()
	}
	chosen := make(types.Services)
	var choose func(name string)
	choose = func(name string) {
		s, active := p.compose.Services[name]
		if _, done := chosen[name]; done || !active {
			return
		}
		chosen[name] = s
		for dep := range s.DependsOn {
			if dependencies {
				choose(dep)
			}
		}
	}
	for _, name := range services {
		if err := p.has(name); err != nil {
			return nil, err
		}
		if s, disabled := p.compose.DisabledServices[name]; disabled {
			err := fmt.Errorf("service %s is behind profiles that are not active: %s", name, strings.Join(s.Profiles, ", "))
			return nil, hint.With(err, "choose one of them with --profile")
		}
		choose(name)
	}
	c := *p.compose
	c.Services, c.DisabledServices = chosen, make(types.Services)
	for name, s := range all {
		if _, in := chosen[name]; !in {
			c.DisabledServices[name] = s
		}
	}
	c.Volumes = maps.Clone(c.Volumes)
	maps.DeleteFunc(c.Volumes, func(name string, _ types.VolumeConfig) bool { return !usesVolume(chosen, name) })
	return p.with(&c), nil
}

func usesVolume(services types.Services, volume string) bool {
	for _, s := range services {
		for _, v := range s.Volumes {
			if v.Type == types.VolumeTypeVolume && v.Source == volume {
				return true
			}
		}
	}
	return false
}

// has returns an error that names what there is when p has no such service.
func (p *Project) has(service string) error {
	if _, known := p.compose.AllServices()[service]; known {
		return nil
	}
	return hint.With(fmt.Errorf("the project has no service %q", service), "its services are %s",
		strings.Join(slices.Sorted(maps.Keys(p.compose.AllServices())), ", "))
}

// Scaled returns p with as many containers of services as scale says.
func (p *Project) Scaled(scale map[string]int) (*Project, error) {
	if len(scale) == 0 {
		return p, nil
	}
	c := *p.compose
	c.Services = maps.Clone(c.Services)
	for name, n := range scale {
		s, active := c.Services[name]
		if !active {
			if err := p.has(name); err != nil {
				return nil, err
			}
			continue // it takes no part
		}
		if n > 1 && s.ContainerName != "" {
			return nil, fmt.Errorf("service %s has a container_name, so there can be one container only", name)
		}
		s.SetScale(n)
		if s.Deploy != nil && s.Deploy.Replicas != nil {
			deploy := *s.Deploy
			deploy.Replicas = &n
			s.Deploy = &deploy
		}
		c.Services[name] = s
	}
	for key, err := range checkProject(&c) {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return p.with(&c), nil
}

// WithPullPolicy returns p with the pull_policy of every service that is not
// built here replaced.
func (p *Project) WithPullPolicy(policy string) *Project {
	c := *p.compose
	c.Services = maps.Clone(c.Services)
	for name, s := range c.Services {
		if s.Build == nil {
			s.PullPolicy = policy
			c.Services[name] = s
		}
	}
	return p.with(&c)
}
