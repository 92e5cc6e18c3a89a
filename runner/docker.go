package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/shlex"
	"go.opentelemetry.io/otel/attribute"

	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/imagebuild"
	"github.com/dockless-ci/dockless/internal/imagelayout"
	"github.com/dockless-ci/dockless/internal/registryauth"
	"github.com/dockless-ci/dockless/internal/span"
)

// dockerTasks are the built-ins that build and push images.
func dockerTasks() map[string]task {
	return map[string]task{
		"e28912f1-0114-4464-802a-a3a35437fd16@2": {
			name: "Docker", title: "Docker", description: "Build and push images with BuildKit, log in to and out of a registry.", run: runDocker,
			connections: []string{"containerRegistry"},
		},
	}
}

// dockerStep is one run of Docker@2.
type dockerStep struct {
	*attempt
	registry *registry // nil: the step names no connection
	config   string    // directory of the Docker configuration; empty: none
	auth     *registryauth.Auth
	outputs  []string // files with the output of each command
	built    *imagebuild.Result
	metadata string // file that --metadata-file names; empty: none
	imageID  string // file that --iidfile names; empty: none
}

// runDocker is Docker@2 (language §5.4). Builds and pushes go to BuildKit and
// to the registry; other commands go to the docker program on PATH.
func runDocker(ctx context.Context, a *attempt) (err error) {
	r, err := a.registryOf("containerRegistry", "")
	if err != nil {
		return err
	}
	what := a.in.text("command", "buildAndPush")
	switch strings.ToLower(what) {
	case "login":
		return a.login(r)
	case "logout":
		return a.logout(r)
	}
	d := &dockerStep{attempt: a, registry: r, config: a.x.dockerConfig()}
	if r != nil {
		if d.config, err = a.x.configFor(r); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(d.config)) }()
		a.env["DOCKER_CONFIG"] = d.config
		if r.insecure && !slices.Contains(a.x.docker.insecure, r.host) {
			a.x.docker.insecure = append(a.x.docker.insecure, r.host)
		}
	}
	if d.auth, err = a.x.credentials(d.config); err != nil {
		return fmt.Errorf("finding registry credentials: %w", err)
	}
	if err := d.run(ctx, what); err != nil {
		return err
	}
	if len(d.outputs) == 0 {
		return nil
	}
	a.node.mu.Lock()
	defer a.node.mu.Unlock()
	return setOutput(a, "DockerOutput", strings.Join(d.outputs, "\n"), false)
}

func (d *dockerStep) run(ctx context.Context, what string) error {
	switch strings.ToLower(what) {
	case "build":
		if err := d.build(ctx, d.in.text("arguments", "")); err != nil {
			return err
		}
		return d.load(ctx)
	case "push":
		return d.push(ctx)
	case "buildandpush":
		if d.in.text("arguments", "") != "" {
			d.node.warning("The input arguments is ignored by the command buildAndPush; use build and push.")
		}
		if err := d.build(ctx, ""); err != nil {
			return err
		}
		return d.push(ctx)
	}
	return d.program(ctx, what)
}

// names returns the full names of the image that the step means.
func (d *dockerStep) names() []string {
	tags := d.in.text("tags", "")
	if !d.in.given("tags") {
		tags = d.x.vars.Value("build.buildId")
	}
	registries := d.x.docker.hosts
	if d.registry != nil {
		registries = []string{d.registry.host}
	}
	return dockerNames(d.in.text("repository", ""), registries, splitTags(tags))
}

// layout is where the images of the job stay until they are pushed.
func (d *dockerStep) layout() imagelayout.Layout {
	return imagelayout.Layout{Dir: filepath.Join(d.x.folders.temp, "images")}
}

// build builds the image and keeps it in the layout of the job.
func (d *dockerStep) build(ctx context.Context, arguments string) error {
	if d.x.cfg.Builder == nil {
		return hint.With(errors.New("the step builds an image, and this agent has no builder"), "set BUILDKIT_HOST to the address of buildkitd")
	}
	request, err := d.request(arguments)
	if err != nil {
		return err
	}
	d.node.print("Building " + strings.Join(request.Tags, ", ") + " from " + request.Dockerfile)
	out, end, err := d.output("build")
	if err != nil {
		return err
	}
	result, err := d.x.cfg.Builder.Build(ctx, request, imagebuild.Progress{Mode: "plain", Out: out})
	if err := errors.Join(err, end()); err != nil {
		if f, ok := errors.AsType[*imagebuild.DockerfileError](err); ok {
			var excerpt strings.Builder
			if f.Excerpt(&excerpt) == nil {
				d.node.print(strings.TrimRight(excerpt.String(), "\n"))
			}
		}
		return fmt.Errorf("building the image: %w", err)
	}
	d.built = result
	d.report(result)
	if d.imageID != "" {
		if err := d.write(d.imageID, []byte(result.Digest.String())); err != nil {
			return fmt.Errorf("writing the file of --iidfile: %w", err)
		}
	}
	if d.metadata == "" {
		return nil
	}
	data, err := result.MetadataJSON()
	if err == nil {
		err = d.write(d.metadata, data)
	}
	if err != nil {
		return fmt.Errorf("writing the file of --metadata-file: %w", err)
	}
	return nil
}

// request describes the build (language §5.4).
func (d *dockerStep) request(arguments string) (imagebuild.Request, error) {
	root := d.x.path("")
	file, err := findFile("Dockerfile", root, d.in.text("Dockerfile", "**/Dockerfile"))
	if err != nil {
		return imagebuild.Request{}, hint.With(err, "set the input Dockerfile to a path below the sources")
	}
	dir := d.in.text("buildContext", "**")
	switch {
	case dir == "**" || dir == filepath.Join(root, "**"):
		dir = filepath.Dir(file)
	case !strings.Contains(dir, "://"):
		dir = d.x.path(dir)
	}
	request := imagebuild.Request{
		Context: dir, Dockerfile: file, Tags: d.names(), Labels: d.x.imageLabels(d.in.truth("addPipelineData", true)),
		Layout: d.layout().Dir, Auth: d.auth, Insecure: d.x.docker.insecure, Cache: d.x.cachePolicy(),
		Open: d.x.open,
	}
	if d.in.truth("addBaseImageData", true) {
		if text, err := d.x.readFile(file); err == nil {
			if base := baseImage(text); base != "" {
				if request.Labels == nil {
					request.Labels = make(map[string]string)
				}
				request.Labels["image.base.ref.name"] = base
			}
		}
	}
	if err := d.buildFlags(&request, arguments); err != nil {
		return request, err
	}
	if len(request.Tags) == 0 {
		request.Layout = "" // it would have no name to be found by
	}
	return request, nil
}

// load gives an image that was built to Podman, where scripts and stacks find
// it under its names as they would with a daemon. An image that is pushed comes
// from its registry.
func (d *dockerStep) load(ctx context.Context) error {
	if d.x.cfg.Podman == nil || d.built == nil || len(d.built.Names) == 0 {
		return nil
	}
	for _, name := range d.built.Names {
		r, w := io.Pipe()
		written := make(chan error, 1)
		go func() {
			err := d.layout().WriteArchive(ctx, name, "", w)
			written <- errors.Join(err, w.CloseWithError(err))
		}()
		_, err := d.x.cfg.Podman.LoadImage(ctx, r)
		_ = r.CloseWithError(err) // ends the writer; closing a pipe does not fail
		if err := errors.Join(<-written, err); err != nil {
			if ctx.Err() != nil {
				return err
			}
			d.node.warning(fmt.Sprintf("Podman did not take %s, so scripts of this job cannot run it: %v", name, err))
			return nil
		}
	}
	return nil
}

// cachePolicy says which build caches belong to the branch of the job.
func (x *execution) cachePolicy() buildcache.Policy {
	o := x.origin()
	return buildcache.Policy{
		Repo: x.cfg.CacheRepo, Mode: x.cfg.CacheExport, Branch: o.branch, TargetBranch: o.target, DefaultBranch: o.standard, Fork: o.fork,
	}
}

// push sends every name of the image to its registry.
func (d *dockerStep) push(ctx context.Context) error {
	names := d.names()
	if len(names) == 0 {
		d.node.warning("The step names no repository. Nothing will be pushed.")
		return nil
	}
	out, end, err := d.output("push")
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := d.pushOne(ctx, name, out); err != nil {
			return errors.Join(fmt.Errorf("pushing %s: %w", name, err), end())
		}
	}
	return end()
}

func (d *dockerStep) pushOne(ctx context.Context, name string, out io.Writer) (err error) {
	ctx, s := span.Start(ctx, "push", attribute.String("container.image.name", name))
	defer func() { s.End(err) }()
	digest, err := d.layout().Push(ctx, name, imagelayout.PushOptions{Auth: d.auth, Insecure: d.x.docker.insecure})
	if errors.Is(err, imagelayout.ErrNotFound) {
		docker, lerr := d.env.look("docker")
		if lerr != nil {
			return hint.With(err, "build the image in this job with Docker@2, or install the docker program")
		}
		return d.docker(ctx, docker, nil, "push", name)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s: digest: %s\n", name, digest)
	return err
}

// program runs another command with the docker program.
func (d *dockerStep) program(ctx context.Context, what string) error {
	docker, err := d.env.look("docker")
	if err != nil {
		return hint.With(fmt.Errorf("running docker %s: %w", what, err), "install the docker program, or name its directory in PATH")
	}
	args, err := shlex.Split(what)
	if err != nil {
		return fmt.Errorf("reading the input command: %w", err)
	}
	if container := d.in.text("container", ""); container != "" && (what == "start" || what == "stop") {
		mapping := looseObject(json.RawMessage(d.x.vars.Value("agent.containerMapping")))
		if known, ok := mapping[container].(map[string]any); ok {
			container = fmt.Sprint(known["id"])
		}
		args = append(args, container)
	}
	more, err := shlex.Split(d.in.text("arguments", ""))
	if err != nil {
		return fmt.Errorf("reading the input arguments: %w", err)
	}
	file, end, err := d.outputFile("command")
	if err != nil {
		return err
	}
	return errors.Join(d.docker(ctx, docker, file, append(args, more...)...), end())
}

// docker runs the docker program. Its output goes to the log and, if there is
// one, to a file.
func (d *dockerStep) docker(ctx context.Context, path string, file io.Writer, args ...string) error {
	d.node.print("##[command]" + path + " " + strings.Join(args, " "))
	dir, err := d.x.directory("")
	if err != nil {
		return err
	}
	return exitError("docker", d.process(ctx, program{path: path, args: args, dir: dir, env: d.env, file: file}))
}
