package buildxsetup

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/platforms"
	"github.com/docker/buildx/store"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockless-ci/dockless/internal/buildkitconf"
	"github.com/dockless-ci/dockless/internal/hint"
)

// Config says which BuildKit the builder points at and where buildx looks for
// builders.
type Config struct {
	Hosts        string        `envconfig:"BUILDKIT_HOST" desc:"addresses of buildkitd, comma-separated, tcp://host:port or unix:///path; ?platforms=linux/arm64 pins the platforms of one. Empty: the current buildx builder if it answers, else a buildkitd of our own"`
	TLSDir       string        `envconfig:"BUILDKIT_TLS_DIR" desc:"directory with ca.pem, cert.pem and key.pem for mutual TLS with tcp:// addresses; empty is plain text"`
	Name         string        `envconfig:"BUILDX_BUILDER" default:"dockless" desc:"name of the buildx builder"`
	Timeout      time.Duration `envconfig:"DOCKLESS_BUILDKIT_TIMEOUT" default:"1m" desc:"longest wait for buildkitd to answer at start"`
	DockerConfig string        `envconfig:"DOCKER_CONFIG" desc:"directory of the Docker configuration; empty is .docker in the home directory"`
	BuildxConfig string        `envconfig:"BUILDX_CONFIG" desc:"directory of buildx's builders; empty is buildx in the Docker configuration"`

	MinFree string `envconfig:"DOCKLESS_BUILDER_MIN_FREE" desc:"what has to be free on the disk of a builder for a build to start, for example 2GB; when it is less, unused cache is removed first. off is no such check. Empty: 2 % of the disk, at most 2GB"`
	// Load makes builds without an output of their own end in the Docker API that
	// the docker command talks to, as they do with a daemon. A builder that says
	// for itself whether they do is left as it is.
	Load bool `ignored:"true"`
	// Home is the home directory, used when DockerConfig is empty.
	Home string `ignored:"true"`
	// StateDir is where a buildkitd of our own keeps its socket and its cache.
	// Empty means that none is started.
	StateDir string `ignored:"true"`
}

// Validate reports everything that is wrong with c, with hints.
func (c Config) Validate() error {
	var errs []error
	if _, err := parseHosts(c.Hosts); err != nil {
		errs = append(errs, err)
	}
	if _, err := store.ValidateName(c.Name); err != nil {
		errs = append(errs, hint.With(fmt.Errorf("BUILDX_BUILDER %q is no builder name", c.Name),
			"set BUILDX_BUILDER to a name of letters, digits, '.', '_' and '-' that starts with a letter"))
	}
	if c.Timeout <= 0 {
		errs = append(errs, fmt.Errorf("DOCKLESS_BUILDKIT_TIMEOUT %s is no positive duration", c.Timeout))
	}
	if _, err := c.Gate(); err != nil {
		errs = append(errs, err)
	}
	if _, err := c.storeDir(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Gate returns the settings of a [Gate]; nil when there shall be none. What it
// learns is kept in StateDir.
func (c Config) Gate() (*GateConfig, error) {
	if c.MinFree == "off" {
		return nil, nil //nolint:nilnil // none is an answer
	}
	g := &GateConfig{}
	if c.StateDir != "" {
		g.Dir = filepath.Join(c.StateDir, "disks")
	}
	if c.MinFree == "" {
		return g, nil
	}
	var err error
	if g.MinFree, err = buildkitconf.ParseSize(c.MinFree); err != nil || g.MinFree == 0 {
		return nil, hint.With(fmt.Errorf("DOCKLESS_BUILDER_MIN_FREE %q is no size", c.MinFree), "set DOCKLESS_BUILDER_MIN_FREE to a size like 2GB, or to off")
	}
	return g, nil
}

// dockerDir returns the directory of the Docker configuration.
func (c Config) dockerDir() (string, error) {
	switch {
	case c.DockerConfig != "":
		return c.DockerConfig, nil
	case c.Home != "":
		return filepath.Join(c.Home, ".docker"), nil
	}
	return "", hint.With(errors.New("there is no place for the Docker configuration: neither DOCKER_CONFIG nor a home directory is known"),
		"set DOCKER_CONFIG to a directory that can be written")
}

// storeDir returns the directory in which buildx keeps its builders, absolute
// because steps work in other directories.
func (c Config) storeDir() (string, error) {
	dir := c.BuildxConfig
	if dir == "" {
		docker, err := c.dockerDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(docker, "buildx")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("finding buildx's directory: %w", err)
	}
	return dir, nil
}

// host is one entry of BUILDKIT_HOST.
type host struct {
	endpoint  string
	platforms []ocispecs.Platform // pinned by the operator; nil is what the workers say
}

// parseHosts reads a BUILDKIT_HOST list. A comma separates addresses and also
// the platforms of one address, so a part without "://" belongs to the address
// before it.
func parseHosts(list string) ([]host, error) {
	var entries []string
	for part := range strings.SplitSeq(list, ",") {
		part = strings.TrimSpace(part)
		switch {
		case part == "":
		case strings.Contains(part, "://") || len(entries) == 0:
			entries = append(entries, part)
		default:
			entries[len(entries)-1] += "," + part
		}
	}
	var (
		hosts []host
		errs  []error
	)
	for _, entry := range entries {
		h, err := parseHost(entry)
		if err == nil && slices.ContainsFunc(hosts, func(o host) bool { return o.endpoint == h.endpoint }) {
			err = fmt.Errorf("BUILDKIT_HOST names %s twice", h.endpoint)
		}
		if err != nil {
			errs = append(errs, hint.With(err,
				"set BUILDKIT_HOST to addresses like tcp://buildkitd:1234 or unix:///run/buildkit/buildkitd.sock, comma-separated"))
			continue
		}
		hosts = append(hosts, h)
	}
	return hosts, errors.Join(errs...)
}

func parseHost(entry string) (host, error) {
	u, err := url.Parse(entry)
	if err != nil {
		return host{}, fmt.Errorf("BUILDKIT_HOST %q is no address", entry)
	}
	switch u.Scheme {
	case "tcp":
		if u.Hostname() == "" || u.Port() == "" || strings.Trim(u.Path, "/") != "" {
			return host{}, fmt.Errorf("BUILDKIT_HOST %q needs a host, a port and no path", entry)
		}
	case "unix":
		if u.Host != "" || !filepath.IsAbs(u.Path) {
			return host{}, fmt.Errorf("BUILDKIT_HOST %q needs an absolute path", entry)
		}
	default:
		return host{}, fmt.Errorf("BUILDKIT_HOST %q is neither tcp:// nor unix://", entry)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return host{}, fmt.Errorf("BUILDKIT_HOST %q has an unreadable query", entry)
	}
	var h host
	for key, values := range query {
		if key != "platforms" {
			return host{}, fmt.Errorf("BUILDKIT_HOST %q has the unknown setting %q", entry, key)
		}
		if h.platforms, err = parsePlatforms(values); err != nil {
			return host{}, fmt.Errorf("BUILDKIT_HOST %q: %w", entry, err)
		}
	}
	if u.User != nil || u.Fragment != "" {
		return host{}, fmt.Errorf("BUILDKIT_HOST has a user or a fragment in the address of %s", u.Host)
	}
	if u.Scheme == "tcp" {
		h.endpoint = "tcp://" + u.Host
	} else {
		h.endpoint = "unix://" + filepath.Clean(u.Path)
	}
	return h, nil
}

func parsePlatforms(values []string) ([]ocispecs.Platform, error) {
	var out []ocispecs.Platform
	for _, value := range values {
		for name := range strings.SplitSeq(value, ",") {
			if name = strings.TrimSpace(name); name == "" {
				continue
			}
			p, err := platforms.Parse(name)
			if err != nil {
				return nil, fmt.Errorf("%q is no platform", name)
			}
			out = append(out, platforms.Normalize(p))
		}
	}
	return out, nil
}
