// Package composefile reads compose files: compose-go says what they mean, and a
// walk beside it says where each key stands and whether it can be honoured.
package composefile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/dockless-ci/dockless/internal/hint"
)

// usualFiles are the names looked for when no file is given, best first.
var usualFiles = []string{"compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"}

// Options says what [Load] reads. Relative paths start at WorkingDir.
type Options struct {
	Files       []string          // compose files, later ones override; empty looks for the usual names
	Name        string            // project name; empty takes COMPOSE_PROJECT_NAME, the file's name, the directory's name
	Profiles    []string          // active profiles; empty takes COMPOSE_PROFILES
	Services    []string          // active whatever their profiles are, with what they cannot do without
	EnvFiles    []string          // files with variables for interpolation; empty takes .env if there is one
	Environment map[string]string // variables for interpolation, stronger than those of EnvFiles
	WorkingDir  string            // empty is the directory of the first file
	Idle        bool              // no service has to be active
	// Check reports, by the path of the key, what only shows in the merged project
	// and cannot be honoured; nil checks nothing.
	Check func(*types.Project) map[string]error
}

// Project is what the files say.
type Project struct {
	Compose  *types.Project
	Warnings []string // what is ignored and why, in the order of the files

	keys *keyCheck
}

// At puts file, line and column of a key, or of what is nearest above it, in front of
// what is said of it.
func (p *Project) At(path string, err error) error { return p.keys.at(path, err) }

// Load reads a compose project. A key that cannot be honoured is an error with
// file, line and column ([*KeyError]); one that means nothing without Swarm
// becomes a warning of the project.
func Load(ctx context.Context, o Options) (*Project, error) {
	files, dir, err := findFiles(o)
	if err != nil {
		return nil, err
	}
	details := types.ConfigDetails{WorkingDir: dir, Environment: maps.Clone(o.Environment)}
	if details.Environment == nil {
		details.Environment = types.Mapping{}
	}
	if err := addEnvFiles(&details, o.EnvFiles); err != nil {
		return nil, err
	}
	knowRaw()
	check := newKeyCheck()
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading compose file: %w", err)
		}
		if err := check.addFile(file, content); err != nil {
			return nil, err
		}
		details.ConfigFiles = append(details.ConfigFiles, types.ConfigFile{Filename: file, Content: content})
	}
	if err := check.unknown(); err != nil {
		return nil, err
	}
	project, err := load(ctx, details, o.Services, func(l *loader.Options) {
		l.SetProjectName(projectName(o, details.Environment, dir))
		l.Profiles = profiles(o, details.Environment)
		l.ResolvePaths = true
	})
	if err != nil {
		return nil, check.locate(fmt.Errorf("reading compose project: %w", err))
	}
	if len(project.Services) == 0 && !o.Idle {
		err := errors.New("the compose project has no active service")
		if len(project.DisabledServices) > 0 {
			err = hint.With(err, "choose a profile with --profile; %s are behind profiles", strings.Join(project.DisabledServiceNames(), ", "))
		}
		return nil, err
	}
	return check.verdict(project, o.Check)
}

// projectName returns the name and whether it is stronger than the file's own.
func projectName(o Options, env types.Mapping, dir string) (string, bool) {
	if o.Name != "" {
		return o.Name, true
	}
	if name := env["COMPOSE_PROJECT_NAME"]; name != "" {
		return name, true
	}
	return loader.NormalizeProjectName(filepath.Base(dir)), false
}

func profiles(o Options, env types.Mapping) []string {
	if len(o.Profiles) > 0 || env["COMPOSE_PROFILES"] == "" {
		return o.Profiles
	}
	var names []string
	for name := range strings.SplitSeq(env["COMPOSE_PROFILES"], ",") {
		names = append(names, strings.TrimSpace(name))
	}
	return names
}

// findFiles returns the absolute paths of the compose files and the project's directory.
func findFiles(o Options) (files []string, dir string, err error) {
	base, err := filepath.Abs(o.WorkingDir)
	if err != nil {
		return nil, "", fmt.Errorf("finding compose files: %w", err)
	}
	for _, file := range o.Files {
		if !filepath.IsAbs(file) {
			file = filepath.Join(base, file)
		}
		files = append(files, file)
	}
	if len(files) == 0 {
		for _, name := range usualFiles {
			if file := filepath.Join(base, name); isFile(file) {
				files = append(files, file)
				break
			}
		}
	}
	if len(files) == 0 {
		err := fmt.Errorf("no compose file in %s", base)
		return nil, "", hint.With(err, "name the file with -f; the usual names are %s", strings.Join(usualFiles, ", "))
	}
	if o.WorkingDir == "" {
		base = filepath.Dir(files[0])
	}
	return files, base, nil
}

func isFile(path string) bool {
	stat, err := os.Stat(path)
	return err == nil && stat.Mode().IsRegular()
}

// addEnvFiles adds the variables of files, or of .env beside the project, below
// those that are set already.
func addEnvFiles(details *types.ConfigDetails, files []string) error {
	if len(files) == 0 {
		file := filepath.Join(details.WorkingDir, ".env")
		if !isFile(file) {
			return nil
		}
		files = []string{file}
	}
	paths := make([]string, 0, len(files))
	for _, file := range files {
		if !filepath.IsAbs(file) {
			file = filepath.Join(details.WorkingDir, file)
		}
		paths = append(paths, file)
	}
	values, err := dotenv.GetEnvFromFile(details.Environment, paths)
	if err != nil {
		return fmt.Errorf("reading environment file: %w", err)
	}
	for k, v := range values {
		if _, set := details.Environment[k]; !set {
			details.Environment[k] = v
		}
	}
	return nil
}
