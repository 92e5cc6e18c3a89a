package podmanrun

import (
	"errors"
	"maps"
	"slices"

	"github.com/dockless-ci/dockless/podmanrun/internal/composefile"
)

// keptLogs are the drivers whose users see no difference: what they keep is found
// by the command for logs, as ours is.
var keptLogs = []string{"", "none", "local", "json-file", "journald", logDriver}

// remarks tells values that are without effect here, each with its place, beside keys
// that are.
func remarks(read *composefile.Project) (texts []string) {
	services := read.Compose.Services
	for _, name := range slices.Sorted(maps.Keys(services)) {
		s := services[name]
		remark := func(key, text string) {
			path := "services." + name + "." + key
			texts = append(texts, read.At(path, errors.New(path+" "+text)).Error())
		}
		if l := s.Logging; l != nil && !slices.Contains(keptLogs, l.Driver) {
			remark("logging.driver", "is not used: logs are kept where \"stack logs\" finds them, not by "+l.Driver)
		} else if l != nil && l.Driver != "none" {
			for _, option := range slices.Sorted(maps.Keys(l.Options)) {
				if option != "max-size" {
					remark("logging.options."+option, "has no effect")
				}
			}
		}
		if s.Restart == "" && s.Deploy != nil && s.Deploy.RestartPolicy != nil {
			if policy := s.Deploy.RestartPolicy; policy.MaxAttempts != nil && (policy.Condition == "" || policy.Condition == "any") {
				remark("deploy.restart_policy.max_attempts", "has no effect: Podman counts attempts with condition: on-failure only")
			}
		}
	}
	return texts
}
