package buildxsetup

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/dockless-ci/dockless/internal/hint"
)

// answerTimeout bounds one question to buildkitd. A healthy one answers within
// milliseconds; five seconds is room for a loaded machine, and one tenth of the
// default wait.
const answerTimeout = 5 * time.Second

// A connection that carries a build is never quiet for long: buildkitd asks the
// session of a build for its health every five seconds. One on which three of
// these questions are missing is asked for a sign of life, and given up when there
// is none; the kernel alone would wait for hours on a network that has vanished.
//
// buildkitd would close a connection that asks it more often than gRPC's servers
// allow, every five minutes. That counts anew with everything it sends, hence
// only for builds.
const (
	quietFor    = 15 * time.Second
	signTimeout = 15 * time.Second // a loaded machine answers late; its kernel and gRPC do so even then
)

var errNoAnswer = fmt.Errorf("no answer within %s", answerTimeout)

// Node is one buildkitd of a builder. It is a value: copies reach the same
// buildkitd, and its methods may be called concurrently.
type Node struct {
	Name     string
	Endpoint string // tcp://host:port or unix:///path
	// Platforms are those pinned in BUILDKIT_HOST, else those of the workers,
	// the native one first.
	Platforms []ocispecs.Platform
	Pinned    bool // whether Platforms come from BUILDKIT_HOST
	Workers   []Worker

	tls *tlsFiles
}

// Worker is one worker of a buildkitd, as it describes itself.
type Worker struct {
	ID        string
	Labels    map[string]string
	Platforms []ocispecs.Platform
	Version   string // of buildkitd
	GC        []client.PruneInfo
}

// tlsFiles are absolute paths. Certificate and key are both set or both empty.
type tlsFiles struct {
	ca, cert, key, serverName string
}

// loadTLS finds the files of dir for a connection to endpoint. An empty dir and
// a unix endpoint mean no TLS.
func loadTLS(dir, endpoint string) (*tlsFiles, error) {
	if dir == "" || !strings.HasPrefix(endpoint, "tcp://") {
		return nil, nil //nolint:nilnil // no files is an answer
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("finding BUILDKIT_TLS_DIR: %w", err)
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, fmt.Errorf("reading the address %s: %w", endpoint, err)
	}
	t := &tlsFiles{ca: filepath.Join(dir, "ca.pem"), cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem"), serverName: u.Hostname()}
	if _, err := t.config(); err != nil {
		return nil, hint.With(fmt.Errorf("reading BUILDKIT_TLS_DIR: %w", err),
			"put ca.pem, cert.pem and key.pem into the directory that BUILDKIT_TLS_DIR names")
	}
	return t, nil
}

func (t *tlsFiles) config() (*tls.Config, error) {
	ca, err := os.ReadFile(t.ca)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%s holds no certificate", t.ca)
	}
	cert, err := tls.LoadX509KeyPair(t.cert, t.key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		ServerName:   t.serverName,
		RootCAs:      pool,
		Certificates: []tls.Certificate{cert},
		NextProtos:   []string{"h2"}, // gRPC's; a server may insist on it
	}, nil
}

// Client opens a client of the node's buildkitd for builds; the caller closes it.
// Nothing is sent before its first use, so an unreachable node shows there, and one
// that says nothing any more after half a minute. When ctx has a
// span, the calls of the client are spans of the same trace, and so are those that a
// buildkitd makes which has a collector: BuildKit's client looks for one.
func (n Node) Client(ctx context.Context) (*client.Client, error) {
	return n.open(ctx, client.WithGRPCDialOption(grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: quietFor, Timeout: signTimeout})))
}

// open opens a client for questions, which the caller bounds in time.
func (n Node) open(ctx context.Context, opts ...client.ClientOpt) (*client.Client, error) {
	if n.tls != nil {
		opts = append(opts, client.WithServerConfig(n.tls.serverName, n.tls.ca), client.WithCredentials(n.tls.cert, n.tls.key))
	}
	c, err := client.New(ctx, n.Endpoint, opts...)
	if err != nil {
		return nil, fmt.Errorf("opening a client of %s: %w", n.Endpoint, err)
	}
	return c, nil
}

// Dial opens a plain connection to the node's buildkitd, TLS included; the
// caller closes it. Its errors are those of net and crypto/tls, which say more
// than a gRPC status.
func (n Node) Dial(ctx context.Context) (net.Conn, error) {
	network, addr, _ := strings.Cut(n.Endpoint, "://")
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if n.tls == nil {
		return conn, nil
	}
	conf, err := n.tls.config()
	if err == nil {
		secure := tls.Client(conn, conf)
		if err = secure.HandshakeContext(ctx); err == nil {
			return secure, nil
		}
	}
	return nil, errors.Join(err, conn.Close())
}

// Ping asks the node's buildkitd for its workers. It returns an
// [*UnreachableError] when there is no answer in time.
func (n Node) Ping(ctx context.Context) ([]Worker, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, answerTimeout, errNoAnswer)
	defer cancel()
	workers, err := n.listWorkers(ctx)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, &UnreachableError{Endpoint: n.Endpoint, Err: err}
	}
	return workers, nil
}

func (n Node) listWorkers(ctx context.Context) ([]Worker, error) {
	// The connection is tried by hand first: gRPC would tell in prose only
	// whether the port was closed, the name unknown or the certificate wrong.
	conn, err := n.Dial(ctx)
	if err != nil {
		return nil, err
	}
	if err := conn.Close(); err != nil {
		return nil, err
	}
	c, err := n.open(ctx)
	if err != nil {
		return nil, err
	}
	infos, err := c.ListWorkers(ctx)
	if err := errors.Join(err, c.Close()); err != nil {
		return nil, err
	}
	if len(infos) == 0 {
		return nil, errors.New("it has no worker")
	}
	workers := make([]Worker, len(infos))
	for i, info := range infos {
		workers[i] = Worker{ID: info.ID, Labels: info.Labels, Platforms: info.Platforms, Version: info.BuildkitVersion.Version, GC: info.GCPolicy}
	}
	return workers, nil
}

// Offers reports whether the node builds for p, natively or emulated.
func (n Node) Offers(p ocispecs.Platform) bool {
	match := platforms.OnlyStrict(platforms.Normalize(p))
	return slices.ContainsFunc(n.Platforms, match.Match)
}

// Answered returns the node as it is after it gave this answer to [Node.Ping], which
// it may not have given when the builder was made.
func (n Node) Answered(workers []Worker) Node {
	n.setWorkers(workers)
	return n
}

// setWorkers keeps what the node's buildkitd said about itself.
func (n *Node) setWorkers(workers []Worker) {
	n.Workers = workers
	if n.Pinned {
		return
	}
	n.Platforms = nil
	for _, w := range workers {
		for _, p := range w.Platforms {
			p = platforms.Normalize(p)
			if !slices.ContainsFunc(n.Platforms, func(o ocispecs.Platform) bool { return platforms.FormatAll(o) == platforms.FormatAll(p) }) {
				n.Platforms = append(n.Platforms, p)
			}
		}
	}
}
