package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/dockless-ci/dockless/internal/hint"
)

// Config says where metrics and the status page are. The zero value shows none.
type Config struct {
	Addr string `envconfig:"DOCKLESS_HTTP_ADDR" desc:"host:port of metrics for Prometheus (/metrics), open to whoever reaches it, and of the status page (/), which DOCKLESS_STATUS_PAGE says who sees, both read-only; for example 127.0.0.1:9464, or :9464 in a pod; empty is off"`
}

// Validate reports an address that cannot be listened on.
func (c Config) Validate() error {
	if c.Addr == "" {
		return nil
	}
	if _, port, err := net.SplitHostPort(c.Addr); err != nil || port == "" {
		return hint.With(fmt.Errorf("DOCKLESS_HTTP_ADDR %q is no host:port", c.Addr), "set DOCKLESS_HTTP_ADDR to an address such as 127.0.0.1:9464 or :9464")
	}
	return nil
}

const (
	// A request is a line and a few headers, an answer some kilobytes; whoever needs
	// longer is no scraper, whose own bound is ten seconds.
	headerTimeout, answerTimeout = 5 * time.Second, 10 * time.Second
	// idleTimeout outlives the usual scrape intervals, fifteen seconds to a minute.
	idleTimeout = 90 * time.Second
	// mostHeaders is far above what a scraper sends, and bounds what strangers can.
	mostHeaders = 16 << 10
	// mostScrapes at once are two Prometheuses and somebody who looks.
	mostScrapes = 4
	// closeTimeout is what a running answer gets when the agent ends.
	closeTimeout = time.Second
)

// Server serves one address.
type Server struct {
	listener net.Listener
	log      *slog.Logger
}

// Listen opens the address. It returns nil when c has none. The caller calls
// [Server.Run] or [Server.Close].
func Listen(ctx context.Context, c Config, log *slog.Logger) (*Server, error) {
	if c.Addr == "" {
		return nil, nil //nolint:nilnil // nil is a Server that is off
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", c.Addr)
	if err != nil {
		return nil, hint.With(fmt.Errorf("listening on DOCKLESS_HTTP_ADDR: %w", err),
			"set DOCKLESS_HTTP_ADDR to an address that is free, or to nothing; agents on one machine need one each")
	}
	return &Server{listener: listener, log: log}, nil
}

// Addr is where the server listens; empty when it is off.
func (s *Server) Addr() string {
	if s == nil {
		return ""
	}
	return s.listener.Addr().String()
}

// Close gives the address back when Run was not called.
func (s *Server) Close() error {
	if s == nil {
		return nil
	}
	if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("closing DOCKLESS_HTTP_ADDR: %w", err)
	}
	return nil
}

// Run answers requests by pages until ctx ends.
func (s *Server) Run(ctx context.Context, pages http.Handler) error {
	if s == nil {
		return nil
	}
	server := &http.Server{
		Handler: pages, ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout, WriteTimeout: answerTimeout + headerTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: mostHeaders, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		closing, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), closeTimeout, fmt.Errorf("answers took longer than %s", closeTimeout))
		defer cancel()
		if server.Shutdown(closing) != nil {
			_ = server.Close() // cuts what is left off
		}
	})
	s.log.InfoContext(ctx, "serving metrics", "address", s.Addr())
	err := server.Serve(s.listener)
	if !stop() {
		<-ended
	}
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving DOCKLESS_HTTP_ADDR: %w", err)
	}
	return nil
}

// Pages are the metrics at /metrics, and a page that says so for those who want
// no status page.
func (m *Metrics) Pages() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: mostScrapes, Timeout: answerTimeout,
	}))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", "default-src 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		_, _ = io.WriteString(w, indexPage) // a reader that went away misses nothing
	})
	return mux
}

const indexPage = `<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>dockless</title>
<h1>dockless</h1>
<p><a href="/metrics">Metrics</a> for Prometheus.</p>
</html>
`
