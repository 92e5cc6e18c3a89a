package rig

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // the store on disk
	"github.com/sirupsen/logrus"
)

// RegistryOptions say how a registry differs from a plain one. The zero value
// is usable: an empty store that is deleted at the end, open to everybody on
// this host.
type RegistryOptions struct {
	// Dir holds the store and survives Stop. Empty is a private directory.
	Dir string
	// ReadOnly refuses pushes, so that several registries can share one Dir.
	ReadOnly bool
	// User and Password are asked for with basic authentication. An empty User
	// lets everybody in.
	User, Password string
	// Wrap, when set, sees every request first: to count, delay or refuse.
	Wrap func(http.Handler) http.Handler
}

// Registry is a running image registry, distribution's handlers on a file
// store, that speaks plain HTTP on 127.0.0.1.
type Registry struct {
	dir    *privateDir // nil when the store is the caller's
	addr   string
	app    *handlers.App
	server *http.Server
	served chan error // gets Serve's result once
}

// StartRegistry starts a registry on a free port of 127.0.0.1. Its log
// is dropped, for the whole process, because a blob that is not there yet counts
// as an error in it and the library
// writes to logrus's standard logger.
func StartRegistry(ctx context.Context, opts RegistryOptions) (_ *Registry, err error) {
	r := &Registry{served: make(chan error, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Stop(ctx))
		}
	}()
	store := opts.Dir
	if store == "" {
		if r.dir, err = makeDir(ctx); err != nil {
			return nil, err
		}
		store = r.dir.path
	}
	logrus.SetLevel(logrus.PanicLevel)
	// The life of the app is ended by Stop, not by the context of the start.
	r.app = handlers.NewApp(context.WithoutCancel(ctx), registryConfig(store, opts.ReadOnly))
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting a registry: %w", err)
	}
	r.addr = listener.Addr().String()
	var handler http.Handler = r.app
	if opts.User != "" {
		handler = withPassword(opts.User, opts.Password, handler)
	}
	if opts.Wrap != nil {
		handler = opts.Wrap(handler)
	}
	r.server = &http.Server{Handler: handler, ReadHeaderTimeout: startTimeout}
	go func() { r.served <- r.server.Serve(listener) }()
	return r, nil
}

// StartImages serves the base images of test/images, read-only, as the mirror
// of docker.io. It wraps [ErrMissing] when they have not been built.
func StartImages(ctx context.Context) (*Registry, error) {
	dir, err := ImagesDir()
	if err != nil {
		return nil, err
	}
	if !exists(filepath.Join(dir, "complete")) {
		return nil, missing("base images in " + dir)
	}
	return StartRegistry(ctx, RegistryOptions{Dir: filepath.Join(dir, "store"), ReadOnly: true})
}

// ImagesDir is where test/images keeps the base images: .build/images.
func ImagesDir() (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	return filepath.Join(root, ".build", "images"), nil
}

// Addr is the registry's host:port, as image references begin with it.
func (r *Registry) Addr() string { return r.addr }

// URL is the registry's address, http://host:port.
func (r *Registry) URL() string { return "http://" + r.addr }

// Stop ends the registry and, unless the store was the caller's, deletes it. It
// works when ctx has ended and may be repeated.
func (r *Registry) Stop(ctx context.Context) error {
	var errs []error
	if r.server != nil {
		// Not gently: a client that never ends its upload must not hold a test.
		errs = append(errs, r.server.Close())
		if err := <-r.served; !errors.Is(err, http.ErrServerClosed) {
			errs = append(errs, fmt.Errorf("serving images: %w", err))
		}
	}
	if r.app != nil {
		errs = append(errs, r.app.Shutdown())
	}
	if r.dir != nil {
		errs = append(errs, r.dir.remove(ctx))
	}
	r.server, r.app, r.dir = nil, nil, nil
	return errors.Join(errs...)
}

func registryConfig(store string, readOnly bool) *configuration.Configuration {
	config := &configuration.Configuration{
		Storage: configuration.Storage{
			"filesystem": configuration.Parameters{"rootdirectory": store},
			"delete":     configuration.Parameters{"enabled": true},
			"maintenance": configuration.Parameters{
				"uploadpurging": map[any]any{"enabled": false},
				"readonly":      map[any]any{"enabled": readOnly},
			},
		},
	}
	// An index may be pushed before all its platforms are, as a cache's is.
	config.Validation.Manifests.Indexes.Platforms = "none"
	config.Catalog.MaxEntries = 1000
	return config
}

func withPassword(user, password string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, ok := r.BasicAuth(); !ok || u != user || p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="rig"`)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprintln(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
			return
		}
		next.ServeHTTP(w, r)
	})
}
