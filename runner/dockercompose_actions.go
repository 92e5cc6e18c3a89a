package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func (s *composeStep) buildServices(ctx context.Context) error {
	words, err := s.words("arguments")
	if err != nil {
		return err
	}
	if err := s.compose(ctx, "build", append([]string{"build"}, words...)...); err != nil {
		return err
	}
	return s.eachTag(ctx, func(image, tag string) error {
		if tag == "" {
			return nil
		}
		return s.dockerCommand(ctx, "tag", image, tag)
	})
}

func (s *composeStep) pushServices(ctx context.Context) error {
	return s.eachTag(ctx, func(image, tag string) error {
		if tag == "" {
			tag = image
		}
		return s.dockerCommand(ctx, "push", tag)
	})
}

// eachTag calls do for every image that is built, first with no tag and then
// with each of its other names.
func (s *composeStep) eachTag(ctx context.Context, do func(image, tag string) error) error {
	images, err := s.builtImages(ctx)
	if err != nil {
		return err
	}
	if len(images) == 0 {
		s.node.warning("No service of the compose file is built.")
	}
	for _, image := range images {
		tags, err := s.tagsOf(ctx, image)
		if err != nil {
			return err
		}
		for _, tag := range append([]string{""}, tags...) {
			if err := do(image, tag); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *composeStep) upServices(ctx context.Context) error {
	words, err := s.words("arguments")
	if err != nil {
		return err
	}
	args := []string{"up"}
	detached := s.in.truth("detached", true)
	if detached {
		args = append(args, "-d")
	}
	if s.in.truth("buildImages", true) {
		args = append(args, "--build")
	}
	if !detached && s.in.truth("abortOnContainerExit", true) {
		args = append(args, "--abort-on-container-exit")
	}
	return s.compose(ctx, "up", append(args, words...)...)
}

func (s *composeStep) runService(ctx context.Context) (err error) {
	service := s.in.text("serviceName", "")
	if service == "" {
		return errors.New("the action needs the input serviceName")
	}
	args := []string{"run"}
	detached := s.in.truth("detached", true)
	if detached {
		args = append(args, "-d")
	}
	for _, option := range []struct{ flag, value string }{
		{"--entrypoint", s.in.text("entrypoint", "")}, {"--name", s.in.text("containerName", "")},
	} {
		if option.value != "" {
			args = append(args, option.flag, option.value)
		}
	}
	for _, port := range inputLines(s.in.text("ports", "")) {
		args = append(args, "-p", port)
	}
	if !detached {
		args = append(args, "--rm")
		defer func() { err = errors.Join(err, s.compose(ctx, "down", "down")) }()
	}
	args = append(args, "-T")
	if dir := s.in.text("workDir", s.in.text("workingDirectory", "")); dir != "" {
		args = append(args, "-w", dir)
	}
	words, err := s.words("arguments")
	if err != nil {
		return err
	}
	command, err := s.words("containerCommand")
	if err != nil {
		return err
	}
	return s.compose(ctx, "run", slices.Concat(args, []string{service}, words, command)...)
}

func (s *composeStep) anyCommand(ctx context.Context) error {
	command, err := s.words("dockerComposeCommand")
	if err != nil {
		return err
	}
	if len(command) == 0 {
		return errors.New("the action needs the input dockerComposeCommand")
	}
	words, err := s.words("arguments")
	if err != nil {
		return err
	}
	return s.compose(ctx, "command", append(command, words...)...)
}

// writeDigests writes a compose file that names each service's image by digest.
func (s *composeStep) writeDigests(ctx context.Context) error {
	images, err := s.digests(ctx)
	if err != nil {
		return err
	}
	return writeImages(s.target("imageDigestComposeFile", "docker-compose.images.yml"), images)
}

// lockServices writes the whole configuration with each image's digest.
func (s *composeStep) lockServices(ctx context.Context) error {
	images, err := s.digests(ctx)
	if err != nil {
		return err
	}
	file, err := s.addImages(images)
	if err != nil {
		return err
	}
	return errors.Join(s.combine(ctx), os.Remove(file))
}

// combine writes the configuration that the files make together.
func (s *composeStep) combine(ctx context.Context) error {
	data, err := s.capture(ctx, "config", "--format", "json")
	if err != nil {
		return fmt.Errorf("combining the compose files: %w", err)
	}
	var config map[string]any
	if err := json.Unmarshal(data, &config); err != nil {
		return fmt.Errorf("reading the configuration from compose: %w", err)
	}
	services, _ := config["services"].(map[string]any)
	for _, value := range services {
		service, _ := value.(map[string]any)
		if s.in.truth("removeBuildOptions", false) {
			delete(service, "build")
		}
		if base := s.in.text("baseResolveDirectory", ""); base != "" {
			resolve(service, s.x.path(base))
		}
	}
	return writeYAML(s.target("outputDockerComposeFile", "docker-compose.yml"), config)
}

// target is the file that the step asks for.
func (s *composeStep) target(input, otherwise string) string {
	return s.x.path(s.in.text(input, filepath.Join(s.x.folders.artifacts, otherwise)))
}

// resolve makes the host's paths of a service relative to base, where the file
// will be used.
func resolve(service map[string]any, base string) {
	relative := func(o map[string]any, member string) {
		path, _ := o[member].(string)
		if inside, err := filepath.Rel(base, path); err == nil && filepath.IsAbs(path) {
			if !strings.HasPrefix(inside, ".") {
				inside = "./" + inside
			}
			o[member] = inside
		}
	}
	if build, ok := service["build"].(map[string]any); ok {
		relative(build, "context")
	}
	volumes, _ := service["volumes"].([]any)
	for _, v := range volumes {
		if volume, ok := v.(map[string]any); ok && volume["type"] == "bind" {
			relative(volume, "source")
		}
	}
}
