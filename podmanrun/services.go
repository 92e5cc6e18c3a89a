package podmanrun

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/format"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// defaultNetwork is the network that joins services which name no other.
const defaultNetwork = "default"

// Login is a user at the registry of one image.
type Login = libpod.Login

// Service is one entry of a job's services.
type Service struct {
	Image      string
	Env        map[string]string
	Ports      []string // as docker takes them: 8080:80, 127.0.0.1::80/tcp, 80 for a free host port
	Volumes    []string // as docker takes them: name:/path, /host:/path:ro, /path
	Options    string   // options of "docker create", split like a shell would
	Command    []string // instead of the image's
	LocalImage bool     // take the image from Podman's storage and never pull it; otherwise it is always pulled
	Login      Login    // at the registry of the image; zero: what [UpOptions].DockerConfig has for it
	Keeper     *Keeper  // what runs in the container instead of what the image starts; nil: that
}

// Services makes a project from a job's services. They start at once and reach
// each other by name. An option that is not known is an error that names it.
func Services(name string, services map[string]Service) (*Project, error) {
	project := &Project{compose: &types.Project{
		Name:     loader.NormalizeProjectName(name),
		Services: make(types.Services, len(services)),
		Networks: types.Networks{defaultNetwork: {}},
		Volumes:  types.Volumes{},
	}}
	if project.compose.Name == "" {
		return nil, fmt.Errorf("%q cannot be the name of a project: it needs a lower-case letter or a digit", name)
	}
	project.compose.Networks[defaultNetwork] = types.NetworkConfig{Name: project.compose.Name + "_" + defaultNetwork}
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(services)) {
		s, warnings, err := service(key, services[key])
		if err != nil {
			errs = append(errs, fmt.Errorf("service %s: %w", key, err))
			continue
		}
		for _, w := range warnings {
			project.warnings = append(project.warnings, "service "+key+": "+w)
		}
		if login := services[key].Login; login != (Login{}) {
			if project.logins == nil {
				project.logins = make(map[string]Login)
			}
			project.logins[key] = login
		}
		for _, v := range s.Volumes {
			if v.Type == types.VolumeTypeVolume && v.Source != "" {
				project.compose.Volumes[v.Source] = types.VolumeConfig{Name: project.compose.Name + "_" + v.Source}
			}
		}
		project.compose.Services[key] = s
	}
	for _, err := range checkProject(project.compose) {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return project, nil
}

// service turns one entry into a service as compose would describe it.
func service(name string, from Service) (s types.ServiceConfig, warnings []string, err error) {
	if from.Image == "" {
		return s, nil, errors.New("it has no image")
	}
	s.Name, s.Image, s.Command = name, from.Image, from.Command
	s.Environment = make(types.MappingWithEquals, len(from.Env))
	for k, v := range from.Env {
		s.Environment[k] = &v
	}
	// What is in the storage under that name may be old, or another job's.
	s.PullPolicy = types.PullPolicyAlways
	if from.LocalImage {
		s.PullPolicy = types.PullPolicyNever
	}
	s.Networks = map[string]*types.ServiceNetworkConfig{defaultNetwork: {}}
	for _, port := range from.Ports {
		if err := publish(&s, port); err != nil {
			return s, nil, err
		}
	}
	for _, volume := range from.Volumes {
		if err := attach(&s, volume); err != nil {
			return s, nil, err
		}
	}
	warnings, err = applyOptions(&s, from.Options)
	if err == nil && from.Keeper != nil {
		warnings = append(warnings, from.Keeper.take(&s)...)
	}
	return s, warnings, err
}

func publish(s *types.ServiceConfig, port string) error {
	ports, err := types.ParsePortConfig(port)
	if err != nil {
		return fmt.Errorf("port %q: %w", port, err)
	}
	s.Ports = append(s.Ports, ports...)
	return nil
}

func attach(s *types.ServiceConfig, volume string) error {
	v, err := format.ParseVolume(volume)
	if err != nil {
		return fmt.Errorf("volume %q: %w", volume, err)
	}
	if v.Type == types.VolumeTypeBind && !strings.HasPrefix(v.Source, "/") {
		err := fmt.Errorf("volume %q: a relative path has no meaning in a job", volume)
		return hint.With(err, "write the absolute path, for example $(Build.SourcesDirectory)/%s", strings.TrimPrefix(v.Source, "./"))
	}
	s.Volumes = append(s.Volumes, v)
	return nil
}
