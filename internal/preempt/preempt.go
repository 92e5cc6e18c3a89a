// Package preempt knows how to hear that a cloud is about to take this machine
// away: Google's metadata server says that a Spot VM is preempted, Azure's that a
// scheduled event will end the machine.
//
// [New] chooses the cloud by its settings, [Watcher.Wait] blocks until there is a
// [Notice] or its context ends. It asks the metadata server of the machine it
// runs on and nothing else; a server that does not answer is asked again with
// growing pauses, because a notice is rare and the address may be blocked for
// pods.
package preempt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/retry"
)

// Config says whose notices are heard.
type Config struct {
	Cloud string `envconfig:"DOCKLESS_PREEMPTION" desc:"cloud whose notice that this machine goes away starts the drain: gce or azure; empty hears none. The pod needs to reach the metadata server"`
	// GCEHost is the ecosystem's name for another address of Google's server.
	GCEHost string `envconfig:"GCE_METADATA_HOST" desc:"host and port of Google's metadata server; empty is metadata.google.internal"`
	// AzureURL is another address of Azure's server; empty is the only one there is.
	AzureURL string
}

// The clouds.
const (
	gce   = "gce"
	azure = "azure"
)

// Validate reports a cloud that is not known, with a hint.
func (c Config) Validate() error {
	switch c.Cloud {
	case "", gce, azure:
		return nil
	}
	return hint.With(fmt.Errorf("no preemption notices of %q are known", c.Cloud), "set DOCKLESS_PREEMPTION to gce, azure or nothing")
}

// Notice says that the machine goes away.
type Notice struct {
	Reason string        // for people: "the machine is preempted"
	Within time.Duration // until it is gone; never zero
}

// Watcher waits for notices of one cloud. It may be used once at a time.
type Watcher struct {
	ask     func(context.Context, *Watcher) (*Notice, error)
	address string
	http    *http.Client
	log     *slog.Logger
	etag    string // Google's: of the last answer
	machine string // Azure's: the name of this machine
}

const (
	// gceNotice is how long a preempted Spot VM lives on: Google stops it 30 s
	// after the notice.
	gceNotice = 30 * time.Second
	// gceHold is how long Google's server holds a question that has no news; one
	// request a minute costs an idle agent nothing.
	gceHold = time.Minute
	// azurePeriod is how often Azure's server is asked: a Spot VM has 30 s from the
	// notice on, and asking costs about a thousandth of a percent of a core.
	azurePeriod = 5 * time.Second
	// pauseFirst and pauseLast are between questions that were not answered.
	pauseFirst = 5 * time.Second
	pauseLast  = 5 * time.Minute
)

// New returns a watcher, or nil when c names no cloud. connections carries the
// requests; it must not use a proxy, because the metadata server is this machine's.
func New(c Config, connections http.RoundTripper, log *slog.Logger) *Watcher {
	w := &Watcher{http: &http.Client{Transport: connections}, log: log}
	switch c.Cloud {
	case gce:
		w.ask, w.address = askGCE, "http://metadata.google.internal"
		if c.GCEHost != "" {
			w.address = "http://" + c.GCEHost
		}
	case azure:
		w.ask, w.address = askAzure, "http://169.254.169.254"
		if c.AzureURL != "" {
			w.address = c.AzureURL
		}
	default:
		return nil
	}
	return w
}

// Wait blocks until the machine is about to go away. Its only error is the cause
// of ctx.
func (w *Watcher) Wait(ctx context.Context) (Notice, error) {
	pause := time.Duration(0)
	for {
		notice, err := w.ask(ctx, w)
		switch {
		case ctx.Err() != nil:
			return Notice{}, context.Cause(ctx)
		case err != nil:
			if pause == 0 {
				w.log.WarnContext(ctx, "no answer to whether this machine is preempted, asking again", "address", w.address, "error", err)
			}
			pause = min(max(2*pause, pauseFirst), pauseLast)
		case notice != nil:
			return *notice, nil
		case pause > 0:
			w.log.InfoContext(ctx, "the metadata server answers again", "address", w.address)
			pause = 0
		}
		wait := retry.Between(pause, pause+pause/4)
		if err := retry.Wait(ctx, wait); err != nil {
			return Notice{}, err
		}
	}
}

// maxAnswer bounds an answer: the longest is a list of a few events.
const maxAnswer = 1 << 20

// get asks the metadata server and returns its answer. A proxy that answers in
// its place lacks the header that proves it.
func (w *Watcher) get(ctx context.Context, path string, bound time.Duration, header http.Header) (body []byte, answered http.Header, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, bound, errors.New("the metadata server did not answer in time"))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.address+path, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("asking the metadata server: %w", err)
	}
	req.Header = header
	answer, err := w.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, nil, fmt.Errorf("asking the metadata server: %w", err)
	}
	body, err = io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	err = errors.Join(err, answer.Body.Close())
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("the metadata server answered %s", answer.Status)
	}
	return body, answer.Header, err
}
