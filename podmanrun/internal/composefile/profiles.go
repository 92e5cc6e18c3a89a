package composefile

import (
	"context"
	"slices"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

// load is compose-go's way from files to a project, in which services are active
// whatever profiles they are behind.
func load(ctx context.Context, details types.ConfigDetails, services []string, options ...func(*loader.Options)) (*types.Project, error) {
	// compose-go makes its options from details, and each half of the way has its own.
	var shared *loader.Options
	options = append(slices.Clip(options), func(l *loader.Options) { shared = l })
	model, err := loader.LoadModelWithContext(ctx, details, options...)
	if err != nil {
		return nil, err
	}
	behind := uncover(model, services)
	project, err := loader.ModelToProject(model, shared, details)
	if err != nil {
		return nil, err
	}
	for name, profiles := range behind {
		s := project.Services[name]
		s.Profiles = profiles
		project.Services[name] = s
	}
	return project, nil
}

// uncover takes the profiles off services of a model, and off those that they cannot
// do without, because compose-go reads the files and variables of active services
// only. It returns what it has taken off.
func uncover(model map[string]any, services []string) map[string][]string {
	all, _ := model["services"].(map[string]any) // it has been validated
	behind := make(map[string][]string)
	seen := make(map[string]bool)
	var one func(name string)
	one = func(name string) {
		s, known := all[name].(map[string]any)
		if !known || seen[name] {
			return
		}
		seen[name] = true
		if profiles, _ := s["profiles"].([]any); len(profiles) > 0 {
			for _, p := range profiles {
				if text, ok := p.(string); ok {
					behind[name] = append(behind[name], text)
				}
			}
			delete(s, "profiles")
		}
		needs, _ := s["depends_on"].(map[string]any)
		for other, how := range needs {
			if need, ok := how.(map[string]any); !ok || need["required"] != false {
				one(other)
			}
		}
	}
	for _, name := range services {
		one(name)
	}
	return behind
}
