package stackcmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/console"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/imageworks"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/settings"
	"github.com/dockless-ci/dockless/internal/buildflags"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/imagebuild"
	"github.com/dockless-ci/dockless/internal/span"
	"github.com/dockless-ci/dockless/podmanrun"
)

// stackImages builds the images of services and puts them into Podman. The
// builder is opened for the first one: most stacks build nothing.
type stackImages struct {
	cmd     *cobra.Command
	version string // of this program
	podman  *podmanrun.Client

	mu     sync.Mutex
	opened bool
	err    error
	images imageworks.Images
	end    func() error
	trace  func(context.Context) context.Context // makes builds part of the command's trace
	jobs   settings.Job
}

func newStackImages(cmd *cobra.Command, version string, c *podmanrun.Client) *stackImages {
	return &stackImages{cmd: cmd, version: version, podman: c}
}

func (s *stackImages) open() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opened {
		return s.err
	}
	s.opened = true
	if s.err = settings.Load(&s.jobs); s.err != nil {
		return s.err
	}
	// It outlives the build it is opened for, but not the command.
	var traced context.Context
	traced, s.images, s.end, s.err = imageworks.Open(s.cmd.Context(), s.cmd, s.version)
	s.trace = func(ctx context.Context) context.Context { return span.As(ctx, traced) }
	s.err = hint.With(s.err, "or build the image elsewhere, and say --no-build here")
	return s.err
}

// close waits for the exports of caches; what was not opened needs none.
func (s *stackImages) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end == nil {
		return nil
	}
	return s.end()
}

// build is what [podmanrun.UpOptions] wants.
func (s *stackImages) build(ctx context.Context, r podmanrun.BuildRequest) error {
	if err := s.open(); err != nil {
		return err
	}
	ctx = s.trace(ctx)
	request, err := s.request(ctx, r)
	if err != nil {
		return err
	}
	lines := &lineWriter{line: r.Progress}
	result, err := s.images.Build(ctx, request, imagebuild.Progress{Mode: "plain", Out: lines})
	lines.flush()
	if err != nil {
		return err
	}
	if result.Export != nil && result.Export.Err != nil {
		r.Progress("no cache for the next build: " + console.OneLine(result.Export.Err.Error()))
	}
	return nil
}

// request says in the words of a build what the compose file does.
func (s *stackImages) request(ctx context.Context, r podmanrun.BuildRequest) (imagebuild.Request, error) {
	var errs []error
	request := imagebuild.Request{
		Context: r.Context, Dockerfile: r.Dockerfile, Tags: append([]string{r.Image}, r.Tags...), Target: r.Target, Platforms: r.Platforms,
		BuildArgs: maps.Clone(r.Args), Labels: r.Labels, Contexts: r.Contexts, NoCache: r.NoCache, NoCacheFilter: r.NoCacheFilter, Pull: r.Pull,
		AddHosts: r.ExtraHosts, Ulimits: r.Ulimits, ShmSize: r.ShmSize, Network: r.Network, Allow: r.Allow,
		Attestations: map[string]string{}, Insecure: s.jobs.Insecure, Auth: s.images.Auth,
	}
	if r.Dockerfile != "" && !filepath.IsAbs(r.Dockerfile) && !imagebuild.IsRemote(r.Context) {
		request.Dockerfile = filepath.Join(r.Context, r.Dockerfile)
	}
	if r.DockerfileInline != "" {
		request.Dockerfile, request.DockerfileText = "", strings.NewReader(r.DockerfileInline)
	}
	if request.Network == "default" {
		request.Network = ""
	}
	for _, text := range r.CacheFrom {
		entry, err := buildflags.ParseCache(text)
		request.CacheFrom, errs = append(request.CacheFrom, entry), append(errs, err)
	}
	for _, text := range r.CacheTo {
		entry, err := buildflags.ParseCache(text)
		request.CacheTo, errs = append(request.CacheTo, entry), append(errs, err)
	}
	for _, a := range []struct{ kind, text string }{{"sbom", r.SBOM}, {"provenance", r.Provenance}} {
		if a.text == "" {
			continue
		}
		settings, wanted, err := buildflags.ParseAttestation(a.text)
		if errs = append(errs, err); wanted {
			request.Attestations[a.kind] = settings
		}
	}
	for _, secret := range r.Secrets {
		request.Secrets = append(request.Secrets, imagebuild.Secret{ID: secret.ID, Open: func(context.Context) ([]byte, error) {
			if secret.File == "" {
				return []byte(secret.Value.Reveal()), nil
			}
			data, err := os.ReadFile(secret.File)
			if err != nil {
				return nil, fmt.Errorf("secret %s: %w", secret.ID, err)
			}
			return data, nil
		}})
	}
	for _, agent := range r.SSH {
		path := agent.Path
		if path == "" {
			path = os.Getenv("SSH_AUTH_SOCK")
		}
		request.SSH = append(request.SSH, imagebuild.SSH{ID: agent.ID, Paths: []string{path}})
	}
	request.Cache = imageworks.CacheOf(ctx, s.jobs.CacheRepo, r.Context)
	request.Cache.Mode = s.jobs.CacheExport
	request.Load = func() (io.WriteCloser, error) { return loadInto(ctx, s.podman), nil }
	return request, errors.Join(errs...)
}

// loadInto streams an image archive into a Podman that is open. Its Close waits
// until Podman has read all of it.
func loadInto(ctx context.Context, c *podmanrun.Client) io.WriteCloser {
	r, w := io.Pipe()
	l := &archiveLoad{pipe: w, done: make(chan error, 1)}
	go func() {
		_, err := c.LoadImage(ctx, r)
		r.CloseWithError(err) // a failed load ends the writer
		l.done <- err
	}()
	return l
}

type archiveLoad struct {
	pipe *io.PipeWriter
	done chan error
}

func (l *archiveLoad) Write(p []byte) (int, error) { return l.pipe.Write(p) }
func (l *archiveLoad) Close() error                { return errors.Join(l.pipe.Close(), <-l.done) }

// lineWriter hands out what is written line by line.
type lineWriter struct {
	line func(string)

	mu   sync.Mutex
	rest []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rest = append(w.rest, p...)
	for {
		line, rest, ended := bytes.Cut(w.rest, []byte("\n"))
		if !ended {
			return len(p), nil
		}
		w.tell(line)
		w.rest = rest
	}
}

func (w *lineWriter) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tell(w.rest)
	w.rest = nil
}

func (w *lineWriter) tell(line []byte) {
	if text := strings.TrimRight(string(line), "\r "); text != "" {
		w.line(text)
	}
}

func newBuildCommand(f *stackFlags) *cobra.Command {
	var (
		noCache, pull, quiet bool
		args                 []string
	)
	cmd := &cobra.Command{
		Use:   "build [SERVICE...]",
		Short: "Build the images of services",
		Long: `build builds the images of services that have a build section on the builder that
dockless keeps, as dockless build does, and loads them into Podman.`,
		Example:           examples("build", "build --pull web", "build --build-arg VERSION=2"),
		ValidArgsFunction: f.services(0),
		RunE: func(cmd *cobra.Command, services []string) error {
			values, err := valuesOf("--build-arg", args)
			if err != nil {
				return err
			}
			p, err := f.part(cmd, services, len(services) == 0)
			if err != nil {
				return err
			}
			requests, err := p.Builds()
			if err != nil {
				return cmdline.Unusable(err)
			}
			return withPodman(cmd, func(ctx context.Context, c *podmanrun.Client) (err error) {
				images := newStackImages(cmd, f.version, c)
				defer func() { err = errors.Join(err, images.close()) }()
				events, err := newStackDisplay(cmd.Context(), cmd.ErrOrStderr(), quiet)
				if err != nil {
					return err
				}
				return errors.Join(buildAll(ctx, images, requests, events, func(r *podmanrun.BuildRequest) {
					r.NoCache, r.Pull = r.NoCache || noCache, r.Pull || pull
					maps.Copy(r.Args, values)
				}), events.close())
			})
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&args, "build-arg", nil, "build argument `NAME=VALUE`, or NAME to take it from the environment; may be repeated")
	flags.BoolVar(&noCache, "no-cache", false, "run every step again")
	flags.BoolVar(&pull, "pull", false, "ask the registry for base images even if the builder has them")
	flags.BoolVarP(&quiet, "quiet", "q", false, "print no progress")
	return cmd
}

// buildAll builds images side by side and tells how they come along.
func buildAll(ctx context.Context, images *stackImages, requests []podmanrun.BuildRequest, events stackDisplay, change func(*podmanrun.BuildRequest)) error {
	var mu sync.Mutex
	tell := func(e podmanrun.Event) {
		mu.Lock()
		defer mu.Unlock()
		events.event(e)
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, r := range requests {
		change(&r)
		r.Progress = func(line string) {
			tell(podmanrun.Event{Service: r.Service, Kind: podmanrun.EventBuilding, Text: line})
		}
		g.Go(func() error {
			r.Progress("")
			if err := images.build(gctx, r); err != nil {
				return fmt.Errorf("building the image of service %s: %w", r.Service, err)
			}
			tell(podmanrun.Event{Service: r.Service, Kind: podmanrun.EventBuilt})
			return nil
		})
	}
	return g.Wait()
}
