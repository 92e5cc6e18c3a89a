package registryauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/compute/metadata"

	"github.com/dockless-ci/dockless/internal/entra"
)

// CloudOptions are what a [Cloud] needs besides its settings.
type CloudOptions struct {
	HTTP     http.RoundTripper // connections to registries and Microsoft Entra; required
	Metadata http.RoundTripper // connections to Google's metadata service, which is behind no proxy; required
	Entra    entra.Config      // who the agent is for Azure
	Log      *slog.Logger      // required
}

// Cloud enters registries with identities of the agent and of its machine, those
// that its [Config] names and no other. It keeps what it got until shortly before
// its end, in memory only. A nil *Cloud has none. It may be used concurrently.
type Cloud struct {
	config   Config
	options  CloudOptions
	http     *http.Client
	metadata *metadata.Client
	programs map[cloudKind][]string // credential helpers that were on PATH at the start

	mu      sync.Mutex
	asked   map[string]*kept         // by registry
	sources map[string]*entra.Source // by scope
}

// programNames are the credential helpers of the clouds' makers, which hold by
// Docker's protocol, first one first.
var programNames = map[cloudKind][]string{google: {"gcloud", "gcr"}, amazon: {"ecr-login"}}

const (
	// identityTimeout bounds one look for an identity, a sign-in and the exchange
	// for a registry's token: four round trips, and a slow one among them.
	identityTimeout = 20 * time.Second
	// absencePause is how long it stands that a machine has no identity. On most it
	// stays so, but a pod may start before the metadata service of its node.
	absencePause = 5 * time.Minute
)

// absentError says that there is no identity to enter a registry with.
type absentError struct{ why string }

func (e *absentError) Error() string { return e.why }

// NewCloud returns the identities for the registries of c. It connects nowhere.
func NewCloud(c Config, o CloudOptions) (*Cloud, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	cloud := &Cloud{
		config: c, options: o, http: noRedirects(o.HTTP), metadata: metadata.NewClient(noRedirects(o.Metadata)),
		programs: make(map[cloudKind][]string), asked: make(map[string]*kept), sources: make(map[string]*entra.Source),
	}
	for kind, names := range programNames {
		for _, name := range names {
			// A job may not put one in front of it later.
			if path, err := exec.LookPath(helperPrefix + name); err == nil {
				cloud.programs[kind] = append(cloud.programs[kind], path)
			}
		}
	}
	if c.NeedsEntra() {
		if _, err := cloud.source(registryScope); err != nil {
			return nil, err
		}
	}
	return cloud, nil
}

// noRedirects returns a client that sends secrets to whom it is told, and to
// nobody that one names.
func noRedirects(connections http.RoundTripper) *http.Client {
	return &http.Client{Transport: connections, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// Allows reports whether a registry may be entered with an identity.
func (c *Cloud) Allows(registry string) bool {
	host := strings.ToLower(registry)
	return c != nil && kindOf(host) != nobodys && c.config.allows(host)
}

// lookup returns an identity's credentials for a registry; none when there is no
// identity, or the registry is not one that it may be used for.
func (c *Cloud) lookup(ctx context.Context, registry string) (answer, error) {
	found, err := c.ask(ctx, registry)
	if _, absent := errors.AsType[*absentError](err); absent {
		return answer{}, nil
	}
	return found, err
}

// absence says why there is no identity for a registry, or "" when nobody would
// expect one.
func (c *Cloud) absence(ctx context.Context, registry string) string {
	if _, err := c.ask(ctx, registry); err != nil {
		return err.Error()
	}
	if kindOf(strings.ToLower(registry)) != nobodys {
		return "DOCKLESS_REGISTRY_IDENTITY does not name it"
	}
	return ""
}

func (c *Cloud) ask(ctx context.Context, registry string) (answer, error) {
	if !c.Allows(registry) {
		return answer{}, nil
	}
	host := strings.ToLower(registry)
	c.mu.Lock()
	slot := slotFor(c.asked, host)
	c.mu.Unlock()
	return slot.get(ctx, func(ctx context.Context) (answer, error) {
		ctx, cancel := context.WithTimeoutCause(ctx, identityTimeout, fmt.Errorf("entering %s took longer than %s", host, identityTimeout))
		defer cancel()
		found, err := c.fetch(ctx, host)
		if err != nil {
			c.options.Log.DebugContext(ctx, "no identity for a registry", "registry", host, "reason", err)
			return answer{}, err
		}
		c.options.Log.DebugContext(ctx, "got credentials for a registry", "registry", host, "source", found.source, "ends", found.ends)
		return found, nil
	})
}

func (c *Cloud) fetch(ctx context.Context, host string) (answer, error) {
	kind := kindOf(host)
	switch kind {
	case azure:
		return c.azure(ctx, host)
	case google:
		found, err := c.google(ctx)
		if _, absent := errors.AsType[*absentError](err); !absent {
			return found, err
		}
		return c.program(ctx, kind, host, err)
	case amazon:
		return c.program(ctx, kind, host, nil)
	case nobodys, anybodys:
	}
	panic("registryauth: asking for the identity of " + host)
}

// program asks the cloud's credential helpers that are installed. Before says
// what was tried already.
func (c *Cloud) program(ctx context.Context, kind cloudKind, host string, before error) (answer, error) {
	var failures []error
	for _, path := range c.programs[kind] {
		found, err := runHelper(ctx, path, host, helperTimeout)
		if err == nil && !found.empty() {
			return found, nil
		}
		if err != nil {
			failures = append(failures, err)
		}
	}
	if len(failures) > 0 {
		return answer{}, errors.Join(failures...)
	}
	why := helperPrefix + strings.Join(programNames[kind], " or "+helperPrefix) + " is not on PATH or knows no credentials"
	if before != nil {
		why = before.Error() + ", and " + why
	}
	return answer{}, &absentError{why}
}
