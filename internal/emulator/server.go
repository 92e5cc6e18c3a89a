package emulator

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/statuspage"
)

// Identifiers start at numbers far apart, so that a client that mixes two kinds
// of them up is refused instead of being lucky.
const (
	firstPool    = 12
	firstAgent   = 87
	firstMessage = 41
	firstRequest = 903
	firstRun     = 501
	firstLog     = 14
)

// Server is one emulated Azure DevOps. Make it with [New], release it with
// [Server.Close]. All its methods may be called concurrently.
type Server struct {
	cfg      Config
	log      *slog.Logger
	dir      string // where logs and attachments are
	ownsDir  bool
	signing  []byte // key of the tokens we issue
	instance string // id of the collection
	closed   chan struct{}
	close    sync.Once
	skew     atomic.Int64 // nanoseconds by which the clock is wrong
	page     *statuspage.Page

	saving sync.Mutex // taken before mu, for one save at a time

	// One lock guards the state below. Nothing waits, reads a body or writes a
	// file while holding it.
	mu          sync.Mutex
	pools       []*pool
	agents      map[agentID]*agent
	sessions    map[string]*session
	assertions  map[string]time.Time // jti → when it may be forgotten
	revoked     map[string]time.Time // id of an agent token → when it expires
	faults      faultList
	requests    map[job.RequestID]*request
	jobs        map[job.ID]*request
	order       []*request // every request, oldest first
	plans       map[job.PlanID]*plan
	runs        map[int]*run
	releases    map[int]string     // id → name, of those that were renamed
	offered     map[string]offered // "id@version" → a package that is not ours
	testRuns    map[int]*testRun
	testFiles   int // attachments of test runs so far
	violations  []Violation
	cutOff      []*request // that ended without their logs and have live lines
	unsaved     bool       // registrations changed since they were saved
	nextAgent   agentID
	nextMessage int64
	nextRequest job.RequestID
	nextRun     int
	nextLog     int
}

// New makes a server that answers nobody yet. It knows the agents of an earlier
// server with the same state directory, but not its jobs. It fails when cfg is
// invalid or the state directory cannot be used.
func New(cfg Config, log *slog.Logger) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("reading the emulator's settings: %w", err)
	}
	s := &Server{
		cfg: cfg, log: log, closed: make(chan struct{}), signing: make([]byte, 32), instance: newGUID(),
		agents: make(map[agentID]*agent), sessions: make(map[string]*session), assertions: make(map[string]time.Time),
		revoked: make(map[string]time.Time), faults: faultList{changed: make(chan struct{})},
		requests: make(map[job.RequestID]*request), jobs: make(map[job.ID]*request),
		plans: make(map[job.PlanID]*plan), runs: make(map[int]*run), releases: make(map[int]string), offered: make(map[string]offered),
		testRuns:  make(map[int]*testRun),
		nextAgent: firstAgent, nextMessage: firstMessage, nextRequest: firstRequest, nextRun: firstRun, nextLog: firstLog,
	}
	if _, err := rand.Read(s.signing); err != nil {
		return nil, fmt.Errorf("making the signing key: %w", err)
	}
	for i, name := range cfg.Pools {
		s.pools = append(s.pools, &pool{id: firstPool + i, name: name, configured: name, created: time.Now()})
	}
	s.page = statuspage.New(statusSource{s}, cfg.Status, s.closed)
	if err := s.openDir(); err != nil {
		return nil, err
	}
	if err := s.load(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Server) openDir() (err error) {
	s.dir, s.ownsDir = s.cfg.StateDir, s.cfg.StateDir == ""
	if s.ownsDir {
		if s.dir, err = os.MkdirTemp("", "dockless-emulator-"); err != nil {
			return fmt.Errorf("making the state directory: %w", err)
		}
		return nil
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("making the state directory: %w", err)
	}
	return nil
}

// Close ends every held poll and stream, saves registrations, and removes a temporary
// state directory. Calls that arrive afterwards are refused with 503.
func (s *Server) Close() error {
	var err error
	s.close.Do(func() {
		close(s.closed)
		s.mu.Lock()
		jobs := slices.Clone(s.order)
		s.unsaved = true // the counters went on
		s.mu.Unlock()
		errs := []error{s.save()}
		for _, q := range jobs {
			errs = append(errs, q.feed.close())
		}
		if s.ownsDir {
			errs = append(errs, os.RemoveAll(s.dir))
		}
		err = errors.Join(errs...)
	})
	return err
}

// stopTimeout bounds the end of a server. A connection on which nothing was asked
// yet counts as busy for its first five seconds, and clients open some in reserve.
const stopTimeout = 10 * time.Second

// Serve answers on ln and runs the clock until ctx ends, then ends held polls
// and returns when every call was answered. It closes ln and s.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	srv := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second, // a client on the same machine is late after that
		BaseContext:       func(net.Listener) context.Context { return context.WithoutCancel(ctx) },
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.Run(ctx) })
	g.Go(func() error {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serving the emulator: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		err := s.Close()
		// Held polls end with Close, so only a body in transit can take this long.
		stop, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), stopTimeout, fmt.Errorf("calls still open after %s", stopTimeout))
		defer cancel()
		if serr := srv.Shutdown(stop); serr != nil {
			err = errors.Join(err, context.Cause(stop), srv.Close())
		}
		return err
	})
	return g.Wait()
}

// Run expires sessions and locks, and saves registrations, until ctx ends or s is closed. Without it a
// session expires when somebody asks for it, and no job is abandoned.
func (s *Server) Run(ctx context.Context) error {
	// A tenth of the shortest deadline is late by no more than a tenth of it.
	period := min(s.cfg.SessionExpiry, s.cfg.LockDuration+s.cfg.LockGrace) / 10
	ticker := time.NewTicker(min(max(period, 5*time.Millisecond), time.Second))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.closed:
			return nil
		case <-ticker.C:
			s.expire()
			if err := s.save(); err != nil {
				s.log.Error("registrations cannot be saved", "err", err)
			}
		}
	}
}

// expire ends what has passed its time.
func (s *Server) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for _, sess := range s.sessions {
		if s.sessionExpired(sess, now) {
			s.endSession(sess, "expired")
		}
	}
	for _, q := range slices.Clone(s.order) { // a job that ends may make another one appear
		s.expireLock(q, now)
		s.expireJob(q, now)
	}
	// Both clocks: a shift that is taken back must not open what was used up.
	forget := func(known map[string]time.Time) {
		for id, until := range known {
			if now.After(until) && s.clock().After(until) {
				delete(known, id)
			}
		}
	}
	forget(s.assertions)
	forget(s.revoked)
}

// pool finds a pool by id.
func (s *Server) pool(id int) *pool {
	i := slices.IndexFunc(s.pools, func(p *pool) bool { return p.id == id })
	if i < 0 {
		return nil
	}
	return s.pools[i]
}
