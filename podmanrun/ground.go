package podmanrun

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
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
		if !u.usesVolume(key) {
			continue
		}
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
			uses = hasVolume(service, shared.key)
		}
		if uses {
			return name
		}
	}
	return otherwise
}

// usesVolume reports whether a service that takes part has a volume.
func (u *up) usesVolume(key string) bool {
	for _, service := range u.project.Services {
		if hasVolume(service, key) {
			return true
		}
	}
	return false
}

func hasVolume(service types.ServiceConfig, key string) bool {
	return slices.ContainsFunc(service.Volumes, func(v types.ServiceVolumeConfig) bool {
		return v.Type == types.VolumeTypeVolume && v.Source == key
	})
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
	text, _ := json.Marshal(request) // strings, numbers and addresses always encode
	sum := sha256.Sum256(text)
	request.Labels[labelHash] = hex.EncodeToString(sum[:])
	made, err := u.client.api.EnsureNetwork(ctx, request)
	if err != nil {
		return err
	}
	if !made {
		labels, err := u.client.api.NetworkLabels(ctx, name)
		if err == nil {
			err = u.ours("network", name, labels)
		}
		if was := labels[labelHash]; err == nil && was != "" && was != request.Labels[labelHash] {
			err = hint.With(fmt.Errorf("network %s is there and was made from another configuration", name), "take the stack down first, or give the network another name")
		}
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.networks = append(u.networks, name)
	return nil
}

func (u *up) volume(ctx context.Context, key string, volume types.VolumeConfig) error {
	name := volumeName(u.project, key)
	if volume.External {
		return u.external(ctx, "volume", name, "/volumes/"+name+"/exists")
	}
	made, err := u.client.api.EnsureVolume(ctx, libpod.VolumeRequest{
		Name: name, Driver: volume.Driver, Options: volume.DriverOpts, Labels: ownedBy(u.options.Owner, u.project.Name, volume.Labels),
	})
	if err != nil {
		return err
	}
	if !made {
		labels, err := u.client.api.VolumeLabels(ctx, name)
		if err == nil {
			err = u.ours("volume", name, labels)
		}
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.volumes = append(u.volumes, name)
	return nil
}

// ours refuses what belongs to another job: its data would be mixed with this one's,
// and it goes when that job ends. What nobody's job has made is anybody's.
func (u *up) ours(what, name string, labels map[string]string) error {
	whose := Owner{Agent: labels[LabelAgent], Job: labels[LabelJob]}
	if whose == (Owner{}) || whose == u.options.Owner {
		return nil
	}
	err := fmt.Errorf("%s %s is there and belongs to job %s of agent %s", what, name, whose.Job, whose.Agent)
	return hint.With(err, "leave out its name in the compose file, and each job gets one of its own")
}

func (u *up) external(ctx context.Context, what, name, path string) error {
	exists, err := u.client.api.Exists(ctx, path, "looking for "+what+" "+name)
	if err != nil || exists {
		return err
	}
	err = fmt.Errorf("external %s %s does not exist", what, name)
	return hint.With(err, "make it with \"podman %s create %s\", or take external out of the compose file", what, name)
}
