package rig

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
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
	// Wrap, when set, sees every request first: to count, delay or refuse. It is
	// called once; the handler it returns runs in this process, before the
	// registry's own.
	Wrap func(http.Handler) http.Handler
}

// Registry is a running image registry, distribution's handlers on a file
// store, that speaks plain HTTP on 127.0.0.1.
type Registry struct {
	dir   *privateDir
	proc  *process
	addr  string
	front *front // nil when the process is reached directly
}

// StartRegistry starts a registry on a free port of 127.0.0.1. It wraps
// [ErrMissing] when the program is not there.
func StartRegistry(ctx context.Context, opts RegistryOptions) (_ *Registry, err error) {
	binary, err := Bin("registry")
	if err != nil {
		return nil, err
	}
	r := &Registry{}
	if r.dir, err = makeDir(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Stop(ctx))
		}
	}()
	store := opts.Dir
	if store == "" {
		store = r.dir.join("store")
	}
	addrFile := r.dir.join("addr")
	args := []string{binary, "-dir", store, "-addr-file", addrFile}
	if opts.ReadOnly {
		args = append(args, "-readonly")
	}
	if r.proc, err = startProcess("registry", &exec.Cmd{Path: binary, Args: args}, r.Log()); err != nil {
		return nil, err
	}
	err = r.proc.waitReady(ctx, func(context.Context) error {
		addr, err := os.ReadFile(addrFile)
		r.addr = string(addr)
		return err
	})
	if err != nil {
		return nil, err
	}
	if opts.User != "" || opts.Wrap != nil {
		if r.front, err = startFront(ctx, r.addr, opts); err != nil {
			return nil, err
		}
		r.addr = r.front.addr
	}
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

// Log is the path of the registry's output.
func (r *Registry) Log() string { return r.dir.join("registry.log") }

// Pid is the registry's process id.
func (r *Registry) Pid() int { return r.proc.pid }

// Stop ends the registry and, unless the store was the caller's, deletes it. It
// works when ctx has ended and may be repeated.
func (r *Registry) Stop(ctx context.Context) error {
	var errs []error
	if r.front != nil {
		errs = append(errs, r.front.stop())
	}
	if r.proc != nil {
		errs = append(errs, r.proc.stop(context.WithoutCancel(ctx)))
	}
	if r.dir != nil {
		errs = append(errs, r.dir.remove(ctx))
	}
	r.front, r.proc, r.dir = nil, nil, nil
	return errors.Join(errs...)
}

// front is a server in this process before the registry's own.
type front struct {
	addr      string
	transport *http.Transport
	server    *http.Server
	served    chan error // gets Serve's result once
}

// startFront starts a server that asks for the password, applies Wrap and
// passes the request on to the registry at addr.
func startFront(ctx context.Context, addr string, opts RegistryOptions) (*front, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting a registry's front: %w", err)
	}
	f := &front{addr: listener.Addr().String(), transport: &http.Transport{}, served: make(chan error, 1)}
	target := &url.URL{Scheme: "http", Host: addr}
	var handler http.Handler = &httputil.ReverseProxy{
		Transport: f.transport,
		// The Host stays the client's: the registry answers with links to it.
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
		},
	}
	if opts.User != "" {
		handler = withPassword(opts.User, opts.Password, handler)
	}
	if opts.Wrap != nil {
		handler = opts.Wrap(handler)
	}
	f.server = &http.Server{Handler: handler, ReadHeaderTimeout: startTimeout}
	go func() { f.served <- f.server.Serve(listener) }()
	return f, nil
}

func (f *front) stop() error {
	err := f.server.Close()
	if served := <-f.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("serving a registry's front: %w", served))
	}
	f.transport.CloseIdleConnections()
	return err
}

func withPassword(user, password string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, ok := r.BasicAuth(); !ok || u != user || p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="rig"`)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			// A client that is gone needs no answer.
			_, _ = fmt.Fprintln(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
			return
		}
		next.ServeHTTP(w, r)
	})
}
