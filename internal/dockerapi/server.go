package dockerapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/dockless-ci/dockless/podmanrun"
)

// MaxSocket is the longest path that a unix socket may have on Linux, in bytes.
const MaxSocket = 107

// headerTimeout bounds how long a client may take to say what it wants.
const headerTimeout = 10 * time.Second

// Config says for whom a [Server] speaks.
type Config struct {
	Owner    podmanrun.Owner // of everything that is created; needs an agent
	Insecure []string        // registries, host[:port], without TLS; those on localhost need no mention
}

// Server is the Docker API of one job.
type Server struct {
	socket    string // its path
	podman    *podmanrun.Client
	owner     podmanrun.Owner
	insecure  []string
	log       *slog.Logger
	transport http.RoundTripper
	http      *http.Server
	served    chan struct{} // closed when serving has ended
	serveErr  error         // why; set before served is closed
	end       context.CancelFunc
	known     *known
	health    *healthBook
	follow    func(container string) // starts to follow the health of a container

	mu     sync.Mutex
	closed bool
	busy   sync.WaitGroup // requests and followed containers; added to under mu while not closed
}

// Open listens on socket, a path of at most [MaxSocket] bytes in a directory
// that only this user may enter, and answers there until [Server.Close].
func Open(ctx context.Context, socket string, podman *podmanrun.Client, cfg Config, log *slog.Logger) (*Server, error) {
	if cfg.Owner.Agent == "" {
		return nil, errors.New("opening the job's Docker API: the agent has no name")
	}
	if len(socket) > MaxSocket {
		return nil, fmt.Errorf("opening the job's Docker API: the path %s is longer than %d bytes, which no socket can have", socket, MaxSocket)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("opening the job's Docker API: %w", err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the job's Docker API: %w", err), listener.Close())
	}
	base, end := context.WithCancel(context.WithoutCancel(ctx))
	s := &Server{
		socket: socket, podman: podman, owner: cfg.Owner, insecure: cfg.Insecure, log: log, transport: podman.Transport(),
		served: make(chan struct{}), end: end, known: newKnown(), health: newHealthBook(),
	}
	s.follow = func(id string) {
		if s.health.claim(id) && s.enter() {
			go func() {
				defer s.busy.Done()
				defer s.health.release(id)
				s.followHealth(base, id)
			}()
		}
	}
	s.http = &http.Server{
		Handler: s, ReadHeaderTimeout: headerTimeout, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return base },
	}
	go func() {
		defer close(s.served)
		s.serveErr = s.http.Serve(listener)
	}()
	return s, nil
}

// Close ends all connections, removes the socket and returns when no request is
// being worked on any more, or with an error when ctx ends before. It may be
// repeated.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
	err := s.http.Close()
	<-s.served
	if !errors.Is(s.serveErr, http.ErrServerClosed) {
		err = errors.Join(err, s.serveErr)
	}
	idle := make(chan struct{})
	go func() {
		s.busy.Wait()
		close(idle)
	}()
	select {
	case <-idle:
	case <-ctx.Done():
		err = errors.Join(err, fmt.Errorf("a request is still under way: %w", context.Cause(ctx)))
	}
	if err != nil {
		return fmt.Errorf("closing the job's Docker API: %w", err)
	}
	return nil
}

// enter counts somebody in who calls busy.Done later; false when it is over.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.busy.Add(1)
	return true
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.enter() {
		refuse(w, &refusal{http.StatusServiceUnavailable, "the job is over"})
		return
	}
	defer s.busy.Done()
	// Podman tells progress while it still reads, as of an image that is loaded.
	// Only HTTP/2 could not; then it is not needed.
	_ = http.NewResponseController(w).EnableFullDuplex()
	c, err := newCall(w, r)
	if err == nil {
		err = s.answer(c)
	}
	if err != nil {
		s.log.DebugContext(r.Context(), "docker request refused", "method", r.Method, "path", r.URL.Path, "error", err)
		refuse(w, err)
	}
}
