package buildxsetup

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/retry"
)

// Ensure waits until the BuildKit that c names answers and sees to it that the
// current buildx builder points at it. It may be repeated: a builder that is
// right is not written again, and one whose address, certificates or platforms
// changed is repaired. The caller closes the [Builder].
//
// Without c.Hosts it takes the current buildx builder if all of it answers, else
// it starts buildkitd from PATH, which then belongs to the Builder.
//
// It returns an [*UnreachableError] when no buildkitd answers within c.Timeout, and
// the errors of [Config.Validate]. Of several, one that answers is enough: the others
// are in the builder too, with the platforms pinned to them, and a warning names
// them.
func Ensure(ctx context.Context, c Config, log *slog.Logger) (*Builder, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	hosts, err := parseHosts(c.Hosts)
	if err != nil {
		return nil, err
	}
	if len(hosts) == 0 {
		return ensureDefault(ctx, c, log)
	}
	nodes, err := c.nodes(hosts)
	if err != nil {
		return nil, err
	}
	return point(ctx, c, nodes, log)
}

// nodes turns addresses into nodes, named as buildx names them.
func (c Config) nodes(hosts []host) ([]Node, error) {
	nodes := make([]Node, len(hosts))
	for i, h := range hosts {
		files, err := loadTLS(c.TLSDir, h.endpoint)
		if err != nil {
			return nil, err
		}
		nodes[i] = Node{
			Name:      fmt.Sprintf("%s%d", c.Name, i),
			Endpoint:  h.endpoint,
			Platforms: h.platforms,
			Pinned:    len(h.platforms) > 0,
			tls:       files,
		}
	}
	return nodes, nil
}

// point waits for the nodes and makes the stored builder name them.
func point(ctx context.Context, c Config, nodes []Node, log *slog.Logger) (*Builder, error) {
	dir, err := c.storeDir()
	if err != nil {
		return nil, err
	}
	if err := await(ctx, nodes, c.Timeout, log); err != nil {
		return nil, err
	}
	changed, before, err := writeBuilder(ctx, dir, c.Name, nodes, c.Load)
	if err != nil {
		return nil, hint.With(err, "set DOCKER_CONFIG or BUILDX_CONFIG to a directory that can be written")
	}
	log.InfoContext(ctx, "builder ready", "builder", c.Name, "nodes", len(nodes), "changed", changed)
	return &Builder{Name: c.Name, Nodes: nodes, storeDir: dir, before: before, log: log}, nil
}

// stragglers is the part of the timeout for which other nodes are waited for once one
// has answered: a buildkitd that is well answers within milliseconds, and one that
// just starts within seconds.
const stragglers = 10

var errStraggler = errors.New("it did not answer soon after another node did")

// await waits for all nodes at once, at most for timeout, and keeps what their
// workers say. One node that answers is enough: the others are then waited for only
// a little longer, and builds go without those that are still silent. The error is
// that of a node when none answers.
func await(ctx context.Context, nodes []Node, timeout time.Duration, log *slog.Logger) error {
	waiting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		all   sync.WaitGroup
		first = sync.OnceFunc(func() {
			timer := time.AfterFunc(timeout/stragglers, func() { cancel(errStraggler) })
			context.AfterFunc(waiting, func() { timer.Stop() })
		})
		errs = make([]error, len(nodes))
	)
	for i := range nodes {
		all.Go(func() {
			if errs[i] = nodes[i].await(waiting, timeout, log); errs[i] == nil {
				first()
			}
		})
	}
	all.Wait()
	if ctx.Err() != nil || !slices.Contains(errs, nil) {
		return cmp.Or(errs...)
	}
	for i, err := range errs {
		if err != nil {
			log.WarnContext(ctx, "a node of the builder does not answer", "node", nodes[i].Name, "endpoint", nodes[i].Endpoint, "error", err)
		}
	}
	return nil
}

// await pings the node until it answers. A pause of a tenth of a second at first
// finds a buildkitd that is just starting; two seconds at most keep an operator
// who repairs something from waiting longer.
func (n *Node) await(ctx context.Context, timeout time.Duration, log *slog.Logger) error {
	start := time.Now()
	policy := retry.Policy{
		First: 100 * time.Millisecond, Max: 2 * time.Second, Total: timeout,
		Retryable: func(err error) bool { return !isCertificateError(err) },
		Notify: func(err error, attempt int, pause time.Duration) {
			level := slog.LevelDebug
			if attempt == 1 {
				level = slog.LevelInfo
			}
			log.Log(ctx, level, "waiting for buildkitd", "endpoint", n.Endpoint, "longest", timeout, "pause", pause, "error", err)
		},
	}
	var last error
	err := retry.Do(ctx, policy, func(ctx context.Context) error {
		workers, err := n.Ping(ctx)
		if err != nil {
			if reason, ok := errors.AsType[*UnreachableError](err); ok && (last == nil || ctx.Err() == nil) {
				last = reason.Err
			}
			return err
		}
		n.setWorkers(workers)
		return nil
	})
	switch {
	case err == nil:
		log.DebugContext(ctx, "buildkitd answers", "endpoint", n.Endpoint, "version", n.Workers[0].Version, "platforms", len(n.Platforms))
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("waiting for buildkitd at %s: %w", n.Endpoint, context.Cause(ctx))
	case isCertificateError(err):
		return hint.With(&UnreachableError{Endpoint: n.Endpoint, Waited: time.Since(start), Err: last},
			"check the files in BUILDKIT_TLS_DIR: ca.pem must have signed buildkitd's certificate, which must be for the host in BUILDKIT_HOST")
	}
	return hint.With(&UnreachableError{Endpoint: n.Endpoint, Waited: time.Since(start), Err: last},
		"set BUILDKIT_HOST to the address of a running buildkitd, or DOCKLESS_BUILDKIT_TIMEOUT to a longer wait")
}

// isCertificateError reports whether waiting cannot help.
func isCertificateError(err error) bool {
	_, ok := errors.AsType[*tls.CertificateVerificationError](err)
	return ok
}

// ensureDefault is [Ensure] without an address.
func ensureDefault(ctx context.Context, c Config, log *slog.Logger) (*Builder, error) {
	dir, err := c.storeDir()
	if err != nil {
		return nil, err
	}
	name, nodes, reason, err := storedCurrent(ctx, dir)
	if err != nil {
		return nil, err
	}
	if reason == "" {
		pingErr := pingAll(ctx, nodes)
		if pingErr == nil {
			log.InfoContext(ctx, "using the current builder", "builder", name, "nodes", len(nodes))
			return &Builder{Name: name, Nodes: nodes, storeDir: dir, log: log}, nil
		}
		reason = pingErr.Error()
	}
	log.InfoContext(ctx, "starting a buildkitd of our own", "reason", reason)
	return startOwn(ctx, c, log)
}

// pingAll asks every node once.
func pingAll(ctx context.Context, nodes []Node) error {
	g, ctx := errgroup.WithContext(ctx)
	for i := range nodes {
		g.Go(func() error {
			workers, err := nodes[i].Ping(ctx)
			if err == nil {
				nodes[i].setWorkers(workers)
			}
			return err
		})
	}
	return g.Wait()
}
