package podmanrun

import (
	"context"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// Keeper keeps a container up that others work in: a program of the caller's in
// place of the one that the image starts.
type Keeper struct {
	Entrypoint []string // the program, as the container sees it, and its arguments. It must end on SIGTERM
	User       string   // uid:gid that it runs as; empty: the image's user
	Mounts     []Mount
}

// Mount is a directory or file of the Podman service's host in a container.
type Mount struct {
	Source   string // must be there; it is not made
	Target   string
	ReadOnly bool
}

// take puts the keeper into a service. What speaks of the image's own program is
// dropped: its healthcheck would wait for a server that nobody starts. Labels of
// SELinux are turned off, because the mounts are shared with their owner.
func (k *Keeper) take(s *types.ServiceConfig) (warnings []string) {
	if s.User != "" && s.User != k.User {
		warnings = append(warnings, "option --user is ignored: the container runs as the user who owns the mounted files")
	}
	if len(s.Entrypoint) > 0 {
		warnings = append(warnings, "option --entrypoint is ignored: the steps of a job run in the container")
	}
	off := false
	s.Entrypoint, s.Command, s.User = k.Entrypoint, nil, k.User
	s.StopSignal, s.Init, s.Tty, s.StdinOpen = "SIGTERM", &off, false, false
	s.HealthCheck = &types.HealthCheckConfig{Disable: true}
	s.SecurityOpt = append(s.SecurityOpt, "label=disable")
	for _, m := range k.Mounts {
		s.Volumes = append(s.Volumes, types.ServiceVolumeConfig{
			Type: types.VolumeTypeBind, Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly, Bind: &types.ServiceVolumeBind{},
		})
	}
	return warnings
}

// Users says which users of the Podman service's host are which in its containers.
// Its zero value is that of a Podman of root: they are the same.
type Users struct{ uids, gids idMap }

// idMap adds what a Podman means by its ranges.
type idMap libpod.IDMap

func (m idMap) inside(host int) (int, bool) {
	for _, r := range m {
		if host >= r.Host && host-r.Host < r.Size {
			return r.Container + host - r.Host, true
		}
	}
	return host, len(m) == 0
}

// Inside returns who a user and a group of the host are in a container. It reports
// false for a user whom no process in a container can be.
func (u Users) Inside(uid, gid int) (insideUID, insideGID int, ok bool) {
	insideUID, ok = u.uids.inside(uid)
	if insideGID, mapped := u.gids.inside(gid); mapped {
		return insideUID, insideGID, ok
	}
	return insideUID, 0, ok // Podman's own group
}

// Root returns the user of the host who is root in a container.
func (u Users) Root() int {
	for _, r := range u.uids {
		if r.Container == 0 {
			return r.Host
		}
	}
	return 0
}

// Users asks the service for its users.
func (c *Client) Users(ctx context.Context) (Users, error) {
	uids, gids, err := c.api.IDMappings(ctx)
	return Users{uids: idMap(uids), gids: idMap(gids)}, err
}
