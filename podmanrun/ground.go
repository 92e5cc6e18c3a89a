package podmanrun

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/compose-spec/compose-go/v2/types"
	"golang.org/x/sync/errgroup"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// ground makes the project's networks and volumes.
func (u *up) ground(ctx context.Context) error {
	// A request that is under way is not cut off: what it makes must be known to undo.
	ctx = context.WithoutCancel(ctx)
	var g errgroup.Group
	for key, network := range u.project.Networks {
		if !u.usesNetwork(key) {
			continue
		}
		g.Go(func() error { return groundOf("network", key, u.network(ctx, key, network)) })
	}
	for key, volume := range u.project.Volumes {
		g.Go(func() error { return groundOf("volume", key, u.volume(ctx, key, volume)) })
	}
	return g.Wait()
}

// groundError is a failure of what services share.
type groundError struct {
	what, key string // network or volume, and its key in the project
	err       error
}

func groundOf(what, key string, err error) error {
	if err == nil {
		return nil
	}
	return &groundError{what: what, key: key, err: err}
}

func (e *groundError) Error() string { return e.what + " " + e.key + ": " + e.err.Error() }
func (e *groundError) Unwrap() error { return e.err }

// firstOn names the first of the services that use what is not there.
func (u *up) firstOn(shared *groundError, otherwise string) string {
	for _, name := range slices.Sorted(maps.Keys(u.units)) {
		service := u.project.Services[name]
		_, uses := service.Networks[shared.key]
		uses = uses && onNetworks(service)
		if shared.what == "volume" {
			uses = slices.ContainsFunc(service.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Source == shared.key })
		}
		if uses {
			return name
		}
	}
	return otherwise
}

func (u *up) usesNetwork(key string) bool {
	for _, service := range u.project.Services {
		if _, uses := service.Networks[key]; uses && onNetworks(service) {
			return true
		}
	}
	return false
}

func (u *up) network(ctx context.Context, key string, network types.NetworkConfig) error {
	name := networkName(u.project, key)
	if network.External {
		return u.external(ctx, "network", name, "/networks/"+name+"/exists")
	}
	request, err := networkRequestOf(name, network, ownedBy(u.options.Owner, u.project.Name, network.Labels))
	if err != nil {
		return err
	}
	made, err := u.client.api.EnsureNetwork(ctx, request)
	if made {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.networks = append(u.networks, name)
	}
	return err
}

func (u *up) volume(ctx context.Context, key string, volume types.VolumeConfig) error {
	name := volumeName(u.project, key)
	if volume.External {
		return u.external(ctx, "volume", name, "/volumes/"+name+"/exists")
	}
	made, err := u.client.api.EnsureVolume(ctx, libpod.VolumeRequest{
		Name: name, Driver: volume.Driver, Options: volume.DriverOpts, Labels: ownedBy(u.options.Owner, u.project.Name, volume.Labels),
	})
	if made {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.volumes = append(u.volumes, name)
	}
	return err
}

func (u *up) external(ctx context.Context, what, name, path string) error {
	exists, err := u.client.api.Exists(ctx, path, "looking for "+what+" "+name)
	if err != nil || exists {
		return err
	}
	err = fmt.Errorf("external %s %s does not exist", what, name)
	return hint.With(err, "make it with \"podman %s create %s\", or take external out of the compose file", what, name)
}
