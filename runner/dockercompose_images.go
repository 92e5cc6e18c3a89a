package runner

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/goccy/go-yaml"
)

// composeService is a service as far as its image matters.
type composeService struct {
	Image string          `json:"image"`
	Build json.RawMessage `json:"build"`
}

func (c composeService) built() bool { return len(c.Build) > 0 && string(c.Build) != "null" }

// services asks compose for its services; each has its image's name.
func (s *composeStep) services(ctx context.Context) (map[string]composeService, error) {
	data, err := s.capture(ctx, "config", "--format", "json")
	if err != nil {
		return nil, fmt.Errorf("reading the compose files: %w", err)
	}
	var config struct {
		Name     string                    `json:"name"`
		Services map[string]composeService `json:"services"`
	}
	if err := json.Unmarshal(data, &config); err != nil {
		return nil, fmt.Errorf("reading the configuration from compose: %w", err)
	}
	for name, service := range config.Services {
		if service.Image == "" {
			service.Image = config.Name + "_" + name // COMPOSE_COMPATIBILITY
			config.Services[name] = service
		}
	}
	return config.Services, nil
}

// qualify adds a generated file with the registry's images for the services that
// are built, unless there is nothing to change. The caller removes it.
func (s *composeStep) qualify(ctx context.Context) (string, error) {
	if s.registry == nil || isHub(s.registry.host) || !s.in.truth("qualifyImageNames", true) {
		return "", nil
	}
	services, err := s.services(ctx)
	if err != nil {
		return "", err
	}
	images := make(map[string]string)
	for name, service := range services {
		if service.built() && !hasRegistry(service.Image) {
			images[name] = strings.ToLower(s.registry.host) + "/" + service.Image
		}
	}
	if len(images) == 0 {
		return "", nil
	}
	return s.addImages(images)
}

// addImages writes a compose file that names images and adds it to the files.
func (s *composeStep) addImages(images map[string]string) (string, error) {
	file := s.scratch()
	if err := writeImages(file, images); err != nil {
		return "", err
	}
	s.files = append(s.files, file)
	return file, nil
}

func writeImages(file string, images map[string]string) error {
	services := make(map[string]any, len(images))
	for name, image := range images {
		services[name] = map[string]string{"image": image}
	}
	return writeYAML(file, map[string]any{"services": services})
}

// writeYAML writes a file that the step asks for.
func writeYAML(file string, value any) error {
	data, err := json.Marshal(value)
	if err == nil {
		data, err = yaml.JSONToYAML(data)
	}
	if err == nil {
		err = os.MkdirAll(filepath.Dir(file), 0o755) //nolint:gosec // as every directory of the sources
	}
	if err == nil {
		err = replaceFile(file, data, 0o644)
	}
	if err != nil {
		return fmt.Errorf("writing the compose file %s: %w", file, err)
	}
	return nil
}

// hasRegistry reports whether an image names its registry.
func hasRegistry(image string) bool {
	first, _, ok := strings.Cut(image, "/")
	return ok && (strings.ContainsAny(first, ".:") || first == "localhost")
}

// builtImages are the images of the services that are built, sorted.
func (s *composeStep) builtImages(ctx context.Context) ([]string, error) {
	services, err := s.services(ctx)
	if err != nil {
		return nil, err
	}
	var images []string
	for _, service := range services {
		if service.built() {
			images = append(images, service.Image)
		}
	}
	slices.Sort(images)
	return slices.Compact(images), nil
}

// tagsOf returns the other names of an image that the step asks for.
func (s *composeStep) tagsOf(ctx context.Context, image string) ([]string, error) {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return nil, fmt.Errorf("reading the image %s: %w", image, err)
	}
	name := reference.FamiliarName(named)
	var names []string
	for _, tag := range inputLines(s.in.text("additionalImageTags", "")) {
		names = append(names, name+":"+tag)
	}
	if s.in.truth("includeSourceTags", false) {
		git, err := s.env.look("git")
		if err != nil {
			return nil, err
		}
		out, err := s.captureProgram(ctx, git, []string{"-C", s.x.folders.sources, "tag", "--points-at", "HEAD"})
		if err != nil {
			return nil, fmt.Errorf("asking git for the tags of the sources: %w", err)
		}
		for _, tag := range inputLines(string(out)) {
			names = append(names, name+":"+strings.ReplaceAll(tag, "/", "_"))
		}
	}
	if s.in.truth("includeLatestTag", false) {
		names = append(names, name+":latest")
	}
	return slices.DeleteFunc(names, func(n string) bool { return n == image }), nil
}

// digests returns the image of each service with its digest.
func (s *composeStep) digests(ctx context.Context) (map[string]string, error) {
	services, err := s.services(ctx)
	if err != nil {
		return nil, err
	}
	docker, err := s.env.look("docker")
	if err != nil {
		return nil, err
	}
	images := make(map[string]string)
	for _, service := range slices.Sorted(maps.Keys(services)) {
		image := services[service].Image
		if err := s.dockerCommand(ctx, "pull", image); err != nil {
			return nil, err
		}
		out, err := s.captureProgram(ctx, docker, []string{"image", "inspect", "--format", "{{json .RepoDigests}}", image})
		if err != nil {
			return nil, fmt.Errorf("asking for the digest of %s: %w", image, err)
		}
		known, err := pinned(image, out)
		if err != nil {
			return nil, err
		}
		for _, name := range known {
			// Podman also lists what an image was loaded as, which no registry has.
			if len(known) > 1 {
				if _, err := s.captureProgram(ctx, docker, []string{"pull", "--quiet", name}); err != nil {
					continue
				}
			}
			images[service] = name
			break
		}
		if images[service] == "" {
			return nil, fmt.Errorf("image %s has no digest in its registry: it was never pushed", image)
		}
	}
	return images, nil
}

// pinned returns the names by digest of an image in its own repository, of a
// list of digests.
func pinned(image string, digests []byte) ([]string, error) {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return nil, fmt.Errorf("reading the image %s: %w", image, err)
	}
	var list, names []string
	if err := json.Unmarshal(digests, &list); err != nil {
		return nil, fmt.Errorf("reading the digests of %s: %w", image, err)
	}
	for _, entry := range list {
		if d, err := reference.ParseNormalizedNamed(entry); err == nil && d.Name() == named.Name() {
			if d, ok := d.(reference.Digested); ok {
				names = append(names, reference.FamiliarName(named)+"@"+d.Digest().String())
			}
		}
	}
	return names, nil
}
