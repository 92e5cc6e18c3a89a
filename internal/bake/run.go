package bake

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/dockless-ci/dockless/internal/imagebuild"
	"github.com/dockless-ci/dockless/internal/scratchdir"
)

// MaxParallel is how many targets are built at a time. BuildKit itself bounds the
// steps that run; this bounds the contexts that are read and sent at the same
// time. Eight keep a node busy while others are sent, and their sessions and
// displays stay far below what one build of a large context takes.
const MaxParallel = 8

// imagesPattern names directories for temporary files with images between targets. Before
// they had locks they were called dockless-bake-*, and a bake of then may still run.
const imagesPattern = "dockless-images-*"

// BuildFunc builds one target.
type BuildFunc func(ctx context.Context, target string, r imagebuild.Request) (*imagebuild.Result, error)

// Run builds targets, at most [MaxParallel] at a time and each after those that
// it is built from, and returns their results by target. The first failure
// cancels the others with itself as the cause and is the error.
//
// The images that targets are built from are kept for the while in a directory
// for temporary files, which is removed before Run returns, or by the next Run when
// this process is killed.
func Run(ctx context.Context, builds []Build, build BuildFunc) (_ map[string]*imagebuild.Result, err error) {
	r := &running{build: build, wanted: make(map[string]bool), done: make(map[string]chan struct{}), results: make(map[string]*imagebuild.Result), where: make(map[string]string)}
	for _, b := range builds {
		r.done[b.Target] = make(chan struct{})
		for _, base := range b.Links {
			r.wanted[base] = true
		}
	}
	if len(r.wanted) > 0 {
		dir, makeErr := scratchdir.Make(ctx, "", imagesPattern)
		if makeErr != nil {
			return nil, fmt.Errorf("keeping images between targets: %w", makeErr)
		}
		defer func() { err = errors.Join(err, dir.Remove()) }()
		r.dir = dir.Path
	}
	group, ctx := errgroup.WithContext(ctx)
	slots := make(chan struct{}, MaxParallel)
	for _, b := range builds {
		group.Go(func() error {
			if err := r.waitFor(ctx, b); err != nil {
				return err
			}
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			defer func() { <-slots }()
			return r.one(ctx, b)
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return r.results, nil
}

// running is what the builds of one run share.
type running struct {
	build  BuildFunc
	dir    string                   // of images between targets
	wanted map[string]bool          // targets that others are built from
	done   map[string]chan struct{} // closed when the target is built

	mu      sync.Mutex
	results map[string]*imagebuild.Result
	where   map[string]string // images between targets, as named contexts
}

// waitFor waits until everything that b is built from is there.
func (r *running) waitFor(ctx context.Context, b Build) error {
	for _, base := range slices.Sorted(maps.Values(b.Links)) {
		done, ok := r.done[base]
		if !ok {
			return fmt.Errorf("target %s is built from %s, which is not part of the plan", b.Target, base)
		}
		select {
		case <-done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// one builds a target and hands its image on.
func (r *running) one(ctx context.Context, b Build) error {
	request := b.Request
	request.Contexts = maps.Clone(request.Contexts)
	if request.Contexts == nil {
		request.Contexts = make(map[string]string)
	}
	r.mu.Lock()
	for name, base := range b.Links {
		request.Contexts[name] = r.where[base]
	}
	r.mu.Unlock()
	dir := ""
	if r.wanted[b.Target] {
		dir = r.keep(&request, b.Target)
	}
	result, err := r.build(ctx, b.Target, request)
	if err != nil {
		return fmt.Errorf("target %s: %w", b.Target, err)
	}
	if dir != "" && result.Digest == "" {
		return fmt.Errorf("target %s has no image that others could be built from", b.Target)
	}
	r.mu.Lock()
	r.results[b.Target] = result
	if dir != "" {
		r.where[b.Target] = layoutPrefix + dir + "@" + result.Digest.String()
	}
	r.mu.Unlock()
	close(r.done[b.Target])
	return nil
}

// keep makes a build leave its image in a directory, and returns that: its own,
// when it writes one anyway, since a build writes only one.
func (r *running) keep(request *imagebuild.Request, target string) string {
	if request.Layout != "" {
		return request.Layout
	}
	for _, o := range request.Outputs {
		if o.IsStore() {
			return o.Dest
		}
	}
	request.Layout = filepath.Join(r.dir, target)
	return request.Layout
}
