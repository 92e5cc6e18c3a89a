package podmanrun

import (
	"context"
	"errors"
	"strings"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// create keeps the running container that is what it should be, or replaces
// what is there by a new one.
func (n *unit) create(ctx context.Context, image fetched) error {
	for _, l := range n.up.before {
		if !n.is(l) {
			continue
		}
		if n.id == "" && n.keeps(l) {
			n.was, n.id, n.again = l, l.ID, l.State != "running"
			continue
		}
		if err := n.up.replace(ctx, l); err != nil {
			return err
		}
		n.emit(EventRemoved, "")
	}
	if n.again {
		return nil
	}
	if n.id != "" {
		n.kept = true
		n.emit(EventKept, "")
		return nil
	}
	if n.warm != nil {
		if err := n.warm.furnish(context.WithoutCancel(ctx)); err != nil {
			return err
		}
	}
	err := n.make(ctx)
	if !imageGone(err) {
		return err
	}
	// Another job has removed it, which nothing kept it from until now.
	img, err := image.again(ctx)
	if err != nil {
		return err
	}
	if img.ID != n.image.ID {
		// Its tag has moved: what is known of the former one is wrong.
		n.warm.giveUp("its image was removed meanwhile, and what is fetched now is another one")
		if err := n.setImage(ctx, img); err != nil {
			return err
		}
		n.request.seal(img.ID)
	}
	return n.make(ctx)
}

// imageGone reports whether a container could not be made for want of its image, or
// of a part of it. Podman 4 has no code for that, and no release one of its own.
func imageGone(err error) bool {
	status, ok := errors.AsType[*libpod.StatusError](err)
	return ok && (strings.Contains(status.Message, "image not known") || strings.Contains(status.Message, "layer not known"))
}

// make makes the container.
func (n *unit) make(ctx context.Context) error {
	err := n.inSlot(ctx, func(ctx context.Context) (err error) {
		n.unanswered = true
		n.id, err = n.up.client.api.CreateContainer(ctx, &n.request.CreateRequest)
		if _, answered := errors.AsType[*libpod.StatusError](err); err == nil || answered {
			n.unanswered = false
		}
		if err != nil || len(n.request.files) == 0 {
			return err
		}
		return n.up.client.api.CopyFiles(ctx, n.id, n.request.Name, n.request.files)
	})
	if err == nil {
		n.emit(EventCreated, "")
	}
	return err
}

// inSlot runs op, one of few at a time. Op gets a context that does not end
// halfway, because half a creation could not be undone.
func (n *unit) inSlot(ctx context.Context, op func(context.Context) error) error {
	select {
	case n.up.slots <- struct{}{}:
		defer func() { <-n.up.slots }()
		return op(context.WithoutCancel(ctx))
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
