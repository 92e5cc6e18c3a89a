package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/errgroup"

	"github.com/dockless-ci/dockless/test/rig"
)

// parallel is how many images are built at a time: the two cores of a small CI
// host, half of whose time goes into waiting for packages.
const parallel = 3

// builder makes images and pushes them into the store.
type builder struct {
	out      string // the folder with the store and the hashes
	goroot   string // the Go distribution for the golang image
	work     string // scratch space
	sources  aptSources
	registry *rig.Registry
	buildkit *rig.Buildkitd // nil until an image needs it
}

// build makes the named images, or all for nil, that are not in out yet. The
// golang image gets the distribution in goroot.
func build(ctx context.Context, out, goroot string, names []string) (err error) {
	for _, wanted := range names {
		if !slices.ContainsFunc(recipes(), func(r recipe) bool { return r.name == wanted }) {
			return fmt.Errorf("building %s: %w", wanted, errUnknownImage)
		}
	}
	b := &builder{out: out, goroot: goroot}
	if b.sources, err = hostSources(ctx); err != nil {
		return err
	}
	todo, err := b.outdated(names)
	if err != nil || len(todo) == 0 {
		return errors.Join(err, b.markComplete(names))
	}
	if b.work, err = os.MkdirTemp("", "dl-images-"); err != nil {
		return fmt.Errorf("building images: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.work)) }()
	// mmdebstrap's apt reads its files as an unprivileged user.
	if err := os.Chmod(b.work, 0o755); err != nil { //nolint:gosec // as the line above says
		return fmt.Errorf("building images: %w", err)
	}
	if b.registry, err = rig.StartRegistry(ctx, rig.RegistryOptions{Dir: filepath.Join(out, "store")}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.registry.Stop(ctx)) }()
	if err := b.makeAll(ctx, todo); err != nil {
		return err
	}
	return b.markComplete(names)
}

// todo is an image to be built, with the hash to remember it by.
type todo struct {
	recipe
	hash string
}

// outdated lists the images whose recipe differs from what the store has.
func (b *builder) outdated(names []string) ([]todo, error) {
	var list []todo
	var base string
	for _, r := range recipes() {
		below := base
		if r.made() {
			below = ""
		}
		hash, err := r.hash(b.sources, below)
		if err != nil {
			return nil, err
		}
		if r.tags[0] == baseTag {
			base = hash
		}
		if names != nil && !slices.Contains(names, r.name) {
			continue
		}
		had, err := os.ReadFile(b.hashFile(r))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("reading what has been built: %w", err)
		}
		if string(had) != hash {
			list = append(list, todo{recipe: r, hash: hash})
		}
	}
	return list, nil
}

func (b *builder) hashFile(r recipe) string { return filepath.Join(b.out, "made", r.name) }

// makeAll makes the base images first, then those on top of them.
func (b *builder) makeAll(ctx context.Context, list []todo) (err error) {
	var onTop []todo
	group, groupCtx := errgroup.WithContext(ctx)
	for _, t := range list {
		if !t.made() {
			onTop = append(onTop, t)
			continue
		}
		group.Go(func() error { return b.timed(groupCtx, t, b.makeBase) })
	}
	if err := group.Wait(); err != nil || len(onTop) == 0 {
		return err
	}
	if b.buildkit, err = rig.StartBuildkitd(ctx, rig.BuildkitdOptions{Mirror: b.registry.Addr()}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.buildkit.Stop(ctx)) }()
	group, groupCtx = errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, t := range onTop {
		group.Go(func() error { return b.timed(groupCtx, t, b.solve) })
	}
	return group.Wait()
}

// timed makes an image, says how long it took, and remembers its hash.
func (b *builder) timed(ctx context.Context, t todo, make func(context.Context, recipe) error) error {
	start := time.Now()
	if err := make(ctx, t.recipe); err != nil {
		return err
	}
	file := b.hashFile(t.recipe)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o750), os.WriteFile(file, []byte(t.hash), 0o600)); err != nil {
		return fmt.Errorf("remembering %s: %w", t.name, err)
	}
	fmt.Printf("image %-9s built in %4.0fs\n", t.name, time.Since(start).Seconds())
	return nil
}

// makeBase makes an image that stands on nothing and pushes it.
func (b *builder) makeBase(ctx context.Context, r recipe) error {
	dir := filepath.Join(b.work, r.name)
	if err := os.Mkdir(dir, 0o755); err != nil { //nolint:gosec // apt's unprivileged user reads in it
		return fmt.Errorf("making %s: %w", r.name, err)
	}
	var push func(name.Reference) error
	if r.name == "busybox" {
		index, err := makeBusybox(ctx, b.sources, dir)
		if err != nil {
			return err
		}
		push = func(ref name.Reference) error { return remote.WriteIndex(ref, index, remote.WithContext(ctx)) }
	} else {
		image, err := makeDebian(ctx, b.sources, dir)
		if err != nil {
			return err
		}
		push = func(ref name.Reference) error { return remote.Write(ref, image, remote.WithContext(ctx)) }
	}
	for _, tag := range r.tags {
		ref, err := name.ParseReference(b.registry.Addr()+"/"+tag, name.Insecure)
		if err != nil {
			return fmt.Errorf("naming %s: %w", tag, err)
		}
		if err := push(ref); err != nil {
			return fmt.Errorf("pushing %s: %w", tag, err)
		}
	}
	return nil
}

// solve builds the image's Dockerfile with BuildKit and pushes it.
func (b *builder) solve(ctx context.Context, r recipe) error {
	dir := filepath.Join(b.work, r.name)
	if err := r.unpack(dir); err != nil {
		return err
	}
	var names []string
	for _, tag := range r.tags {
		names = append(names, b.registry.Addr()+"/"+tag)
	}
	args := []string{
		"build", "--progress=plain", "--frontend=dockerfile.v0",
		"--local", "context=" + dir, "--local", "dockerfile=" + dir,
		// buildctl reads the value as CSV.
		"--output", `type=image,push=true,oci-mediatypes=true,compression=zstd,"name=` + strings.Join(names, ",") + `"`,
	}
	if r.goroot {
		args = append(args, "--local", "goroot="+b.goroot, "--opt", "context:goroot=local:goroot",
			"--opt", "build-arg:GOLANG_VERSION="+strings.TrimPrefix(runtime.Version(), "go"))
	}
	if _, err := b.buildkit.Buildctl(ctx, args...); err != nil {
		return fmt.Errorf("building %s: %w", r.name, err)
	}
	return nil
}

// unpack writes the recipe's files to dir.
func (r recipe) unpack(dir string) error {
	files, err := r.files()
	if err != nil {
		return err
	}
	for _, name := range files {
		text, err := recipeFiles.ReadFile(name)
		if err != nil {
			return fmt.Errorf("unpacking the recipe of %s: %w", r.name, err)
		}
		to := filepath.Join(dir, filepath.FromSlash(strings.TrimPrefix(name, path.Join("recipes", r.name))))
		// Executable, because an embedded file has no mode; Dockerfiles copy
		// scripts only.
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, text, 0o755)); err != nil { //nolint:gosec // see above
			return fmt.Errorf("unpacking the recipe of %s: %w", r.name, err)
		}
	}
	return nil
}

// markComplete leaves the file that says that all images are there.
func (b *builder) markComplete(names []string) error {
	if names != nil {
		return nil
	}
	if err := os.WriteFile(filepath.Join(b.out, "complete"), nil, 0o600); err != nil {
		return fmt.Errorf("finishing the images: %w", err)
	}
	return nil
}
