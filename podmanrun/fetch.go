package podmanrun

import (
	"context"

	"github.com/compose-spec/compose-go/v2/types"
	"golang.org/x/sync/errgroup"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// fetched are the images of one service on their way.
type fetched struct {
	own    *future[*libpod.Image]
	mounts []*future[*libpod.Image] // of its volumes that are images
	// again fetches the service's own image when it is not there any more.
	again func(context.Context) (*libpod.Image, error)
}

// images are those of all services, by name.
type images map[string]fetched

// wait returns when each image is there or will not come.
func (i images) wait(ctx context.Context) {
	for _, f := range i {
		for _, image := range append(f.mounts, f.own) {
			_, _ = image.wait(ctx) // its service tells
		}
	}
}

// wait returns the service's own image once all of its images are there.
func (f fetched) wait(ctx context.Context) (*libpod.Image, error) {
	for _, image := range f.mounts {
		if _, err := image.wait(ctx); err != nil {
			return nil, err
		}
	}
	return f.own.wait(ctx)
}

// pullAll fetches every image once, several at the same time, and returns each
// service's.
func (u *up) pullAll(ctx context.Context, g *errgroup.Group) images {
	builds := u.buildAll(ctx, g)
	byRequest := make(map[libpod.Pull]*future[*libpod.Image])
	who := u.options.logins()
	ensure := func(ctx context.Context, name string, pull libpod.Pull) (*libpod.Image, error) {
		select {
		case u.pulls <- struct{}{}:
			defer func() { <-u.pulls }()
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		return u.client.api.EnsureImage(ctx, pull, who, func(text string) {
			u.emit(Event{Service: name, Kind: EventPulling, Text: text})
		})
	}
	fetch := func(name string, pull libpod.Pull) *future[*libpod.Image] {
		build := builds[pull.Image]
		pull.Built = build != nil
		if f := byRequest[pull]; f != nil {
			return f
		}
		byRequest[pull] = newFuture(g, func() (*libpod.Image, error) {
			pull := pull
			if build != nil {
				built, err := build.wait(ctx)
				if err != nil {
					return nil, err
				}
				if built {
					pull.Policy = "" // no registry has a better one
				}
			}
			return ensure(ctx, name, pull)
		})
		return byRequest[pull]
	}
	all := make(images, len(u.units))
	for name, service := range u.project.Services {
		policy, _ := pullPolicy(service) // checked when the project was read
		own := libpod.Pull{Image: imageName(u.project, service), Platform: service.Platform, Policy: policy, Login: u.logins[name]}
		f := fetched{own: fetch(name, own)}
		for _, v := range service.Volumes {
			if v.Type == types.VolumeTypeImage {
				f.mounts = append(f.mounts, fetch(name, libpod.Pull{Image: v.Source}))
			}
		}
		f.again = func(ctx context.Context) (*libpod.Image, error) {
			pull := own // replicas may ask at the same time
			if pull.Built = builds[pull.Image] != nil; pull.Built {
				pull.Policy = ""
			}
			return ensure(ctx, name, pull)
		}
		all[name] = f
	}
	return all
}
