package podmanrun

import "maps"

// Labels on every container, network and volume this package makes.
const (
	LabelAgent   = "io.dockless.agent"
	LabelJob     = "io.dockless.job"
	LabelProject = "io.dockless.project"
	LabelService = "io.dockless.service"

	labelHash  = "io.dockless.config-hash"  // what the container was made from
	labelCheck = "io.dockless.healthcheck"  // the check's timing, as JSON
	labelGrace = "io.dockless.stop-timeout" // seconds
)

// Owner says for whom containers are made, so that leftovers of a crash are
// found. Empty fields set no label.
type Owner struct {
	Agent string // the agent's name
	Job   string // the job's identifier
}

func (o Owner) labels() map[string]string {
	labels := make(map[string]string, 2)
	if o.Agent != "" {
		labels[LabelAgent] = o.Agent
	}
	if o.Job != "" {
		labels[LabelJob] = o.Job
	}
	return labels
}

// ownedBy returns the labels of something that belongs to project and owner.
func ownedBy(o Owner, project string, more map[string]string) map[string]string {
	labels := maps.Clone(more)
	if labels == nil {
		labels = make(map[string]string, 3)
	}
	maps.Copy(labels, o.labels())
	labels[LabelProject] = project
	return labels
}
