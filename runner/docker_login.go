package runner

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/distribution/reference"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/registryauth"
)

// dockerSession is what the Docker steps of a job share. Its files lie in the
// temp directory, which nobody else can read and which the job's end empties.
type dockerSession struct {
	dir      string   // Docker configuration of a login; empty: nobody is logged in
	hosts    []string // registries logged in to
	insecure []string // registries that connections name with http://
}

// registry is where a service connection leads.
type registry struct {
	host           string
	insecure       bool
	user, password string
	principal      *registryauth.Principal // gets user and password; nil: they are there
	keyless        bool                    // the identity of the agent opens it
}

// has reports whether an image comes from the registry.
func (r *registry) has(image string) bool {
	named, err := reference.ParseDockerRef(image)
	if err != nil {
		return false // and the pull says why
	}
	domain := reference.Domain(named)
	return domain == r.host || isHub(domain) && isHub(r.host)
}

// registryOf reads the connection that an input of the step names; nil when it
// names none. An address that is not empty replaces the connection's own.
func (a *attempt) registryOf(input, address string) (*registry, error) {
	id := a.in.text(input, "")
	if id == "" {
		return nil, nil //nolint:nilnil // no connection is a normal answer
	}
	r, err := a.x.registryAt(id, address)
	if err != nil {
		return nil, hint.With(err, "name an existing connection of type Docker Registry in %s", input)
	}
	return r, a.x.enter(a.ctx, r)
}

// registryAt reads a service connection. An address that is not empty replaces its
// own.
func (x *execution) registryAt(id, address string) (*registry, error) {
	e, ok := x.m.Endpoint(id)
	if !ok {
		return nil, fmt.Errorf("the job may not use the service connection %q", id)
	}
	host, insecure := registryHost(cmp.Or(address, parameter(e, "registry", "loginServer"), e.URL))
	if host == "" {
		return nil, fmt.Errorf("the service connection %s names no registry", e.Name)
	}
	if strings.EqualFold(e.Type, "azurerm") {
		return x.azureRegistry(e, host)
	}
	r := &registry{
		host: host, insecure: insecure,
		user: parameter(e, "username", "serviceprincipalid"), password: parameter(e, "password", "serviceprincipalkey"),
	}
	if r.password == "" && r.user != "" || r.user == "" && !strings.EqualFold(e.Authorization.Scheme, "None") && len(e.Authorization.Parameters) > 1 {
		return x.keylessRegistry(e, host)
	}
	return r, nil
}

// configFor writes a Docker configuration that holds the credentials of r
// beside those that are there already, and returns its directory.
func (x *execution) configFor(r *registry) (string, error) {
	base := x.dockerConfig()
	config := make(map[string]any)
	data, err := x.readFile(filepath.Join(base, "config.json"))
	if err == nil && base != "" {
		err = json.Unmarshal(data, &config)
	}
	if err != nil && base != "" && !errors.Is(err, fs.ErrNotExist) {
		// The content may be credentials, so the parser's message is not quoted.
		return "", fmt.Errorf("reading the Docker configuration in %s: it is no JSON or not readable", base)
	}
	auths, _ := config["auths"].(map[string]any)
	auths = maps.Clone(auths)
	if auths == nil {
		auths = make(map[string]any)
	}
	if r.password != "" {
		auth := base64.StdEncoding.EncodeToString([]byte(r.user + ":" + r.password))
		x.masks.Add(auth)
		auths[authKey(r.host)] = map[string]string{"auth": auth}
		// A credential helper for the registry would win over what stands here.
		if helpers, ok := config["credHelpers"].(map[string]any); ok {
			delete(helpers, r.host)
		}
		delete(config, "credsStore")
	}
	config["auths"] = auths
	dir, err := os.MkdirTemp(x.folders.temp, "DockerConfig_")
	if err != nil {
		return "", fmt.Errorf("writing a Docker configuration: %w", err)
	}
	if err := linkConfig(base, dir); err != nil {
		return "", err
	}
	return dir, writeConfig(dir, config)
}

// linkConfig makes what else lies in a Docker configuration reachable from dir:
// plugins, buildx's builders and contexts.
func linkConfig(base, dir string) error {
	if base == "" {
		return nil
	}
	for _, name := range []string{"cli-plugins", "buildx", "contexts"} {
		target := filepath.Join(base, name)
		if resolved, err := filepath.EvalSymlinks(target); err == nil {
			if err := os.Symlink(resolved, filepath.Join(dir, name)); err != nil {
				return fmt.Errorf("writing a Docker configuration: %w", err)
			}
		}
	}
	return nil
}

func writeConfig(dir string, config map[string]any) error {
	data, err := json.Marshal(config)
	if err == nil {
		err = replaceFile(filepath.Join(dir, "config.json"), data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("writing a Docker configuration: %w", err)
	}
	return nil
}

// authKey is the name under which a registry's credentials are kept.
func authKey(host string) string {
	if isHub(host) {
		return "https://" + hubHost + "/v1/"
	}
	return host
}

// dockerConfig returns the Docker configuration that holds now: that of a
// login, the job's, or the agent's.
func (x *execution) dockerConfig() string {
	return cmp.Or(x.docker.dir, x.socket.config, x.cfg.DockerConfig)
}

// credentials are those of the Docker configuration in dir, which the job may have
// written.
func (x *execution) credentials(dir string) (*registryauth.Auth, error) {
	if dir == "" {
		return (*registryauth.Auth)(nil).With(x.cfg.Registries)
	}
	text, err := x.readFile(filepath.Join(dir, "config.json"))
	if errors.Is(err, fs.ErrNotExist) {
		text, err = []byte("{}"), nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the Docker configuration: %w", err)
	}
	auth, err := registryauth.Read(text, x.cfg.DockerConfig)
	if err != nil {
		return nil, err
	}
	return auth.With(x.cfg.Registries)
}

// login keeps a registry's credentials for the steps that follow.
func (a *attempt) login(r *registry) error {
	if r == nil {
		return errors.New("the command login needs the input containerRegistry")
	}
	old := a.x.docker.dir
	dir, err := a.x.configFor(r)
	if err != nil {
		return err
	}
	d := &a.x.docker
	d.dir = dir
	if !slices.Contains(d.hosts, r.host) {
		d.hosts = append(d.hosts, r.host)
	}
	a.x.define("DOCKER_CONFIG", dir)
	a.node.print("Logged in to " + r.host + " for the rest of the job.")
	if old != "" {
		return os.RemoveAll(old)
	}
	return nil
}

// logout forgets one registry, or all of them.
func (a *attempt) logout(r *registry) error {
	d := &a.x.docker
	if d.dir == "" {
		a.node.print("Nobody is logged in.")
		return nil
	}
	if r != nil {
		d.hosts = slices.DeleteFunc(d.hosts, func(h string) bool { return h == r.host })
	}
	if r == nil || len(d.hosts) == 0 {
		dir := d.dir
		d.dir, d.hosts = "", nil
		a.x.define("DOCKER_CONFIG", a.x.dockerConfig())
		a.node.print("Logged out of all registries.")
		return os.RemoveAll(dir)
	}
	data, err := a.x.readFile(filepath.Join(d.dir, "config.json"))
	if err != nil {
		return fmt.Errorf("reading the Docker configuration: %w", err)
	}
	config := looseObject(data)
	if auths, ok := config["auths"].(map[string]any); ok {
		delete(auths, authKey(r.host))
	}
	a.node.print("Logged out of " + r.host + ".")
	return writeConfig(d.dir, config)
}
