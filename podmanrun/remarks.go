package podmanrun

import (
	"maps"
	"slices"

	"github.com/compose-spec/compose-go/v2/types"
)

// keptLogs are the drivers whose users see no difference: what they keep is found
// by the command for logs, as ours is.
var keptLogs = []string{"", "none", "local", "json-file", "journald", logDriver}

// remarks tells values that are without effect here, beside keys that are.
func remarks(p *types.Project) (texts []string) {
	for _, name := range slices.Sorted(maps.Keys(p.Services)) {
		s := p.Services[name]
		remark := func(text string) { texts = append(texts, "service "+name+": "+text) }
		if l := s.Logging; l != nil && !slices.Contains(keptLogs, l.Driver) {
			remark("the logging driver " + l.Driver + " is not used: logs are kept where \"stack logs\" finds them")
		} else if l != nil && l.Driver != "none" {
			for _, option := range slices.Sorted(maps.Keys(l.Options)) {
				if option != "max-size" {
					remark("the logging option " + option + " has no effect")
				}
			}
		}
		if s.Restart == "" && s.Deploy != nil && s.Deploy.RestartPolicy != nil {
			if policy := s.Deploy.RestartPolicy; policy.MaxAttempts != nil && (policy.Condition == "" || policy.Condition == "any") {
				remark("max_attempts has no effect: Podman counts attempts with condition: on-failure only")
			}
		}
	}
	return texts
}
