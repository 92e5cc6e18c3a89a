package podmanrun

import (
	"maps"
	"slices"
	"strconv"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// Labels on every container, network and volume this package makes.
const (
	LabelAgent   = "io.dockless.agent"
	LabelJob     = "io.dockless.job"
	LabelProject = "io.dockless.project"
	LabelService = "io.dockless.service"

	// LabelReplica tells the containers of one service apart, counted from 1.
	LabelReplica = "io.dockless.replica"

	// labelPrivate marks a volume that lives as long as the container it was made for.
	labelPrivate = "io.dockless.private"

	labelHash    = "io.dockless.config-hash"  // what the container was made from
	labelCheck   = "io.dockless.healthcheck"  // the check's timing, as JSON
	labelGrace   = "io.dockless.stop-timeout" // seconds
	labelAfter   = "io.dockless.after"        // services that it depends on, comma-separated
	labelPreStop = "io.dockless.pre-stop"     // hooks, as JSON
	labelHooks   = "io.dockless.post-start"   // likewise
	labelWaits   = "io.dockless.completed"    // services that it waits to complete, comma-separated
	labelFollows = "io.dockless.restart-with" // services whose restart restarts it, comma-separated
	labelOneOff  = "io.dockless.one-off"      // "true" on what [Client.Run] made
	labelParts   = "io.dockless.subpaths"     // parts of volumes in it, as JSON
)

// replicaIn returns the number of a container when its service has others in list,
// else zero.
func replicaIn(l libpod.Listed, list []libpod.Listed) int {
	others := slices.ContainsFunc(list, func(o libpod.Listed) bool {
		return o.ID != l.ID && !isOneOff(o) && o.Labels[LabelService] == l.Labels[LabelService] && o.Labels[LabelProject] == l.Labels[LabelProject]
	})
	replica, err := strconv.Atoi(l.Labels[LabelReplica])
	if err != nil || !others || isOneOff(l) {
		return 0
	}
	return replica
}

// isOneOff reports whether a container runs one command beside its service.
func isOneOff(l libpod.Listed) bool { return l.Labels[labelOneOff] != "" }

// Owner says for whom containers are made, so that leftovers of a crash are
// found. Empty fields set no label.
type Owner struct {
	Agent string // the agent's name
	Job   string // the job's identifier
}

// Labels returns what marks a container, network, volume or pod as o's.
func (o Owner) Labels() map[string]string {
	labels := make(map[string]string, 2)
	if o.Agent != "" {
		labels[LabelAgent] = o.Agent
	}
	if o.Job != "" {
		labels[LabelJob] = o.Job
	}
	return labels
}

// Owns reports whether labels are those of something of o's. An owner without
// an agent owns nothing.
func (o Owner) Owns(labels map[string]string) bool {
	return o.Agent != "" && libpod.Carries(labels, o.Labels())
}

// ownedBy returns the labels of something that belongs to project and owner.
func ownedBy(o Owner, project string, more map[string]string) map[string]string {
	labels := maps.Clone(more)
	if labels == nil {
		labels = make(map[string]string, 3)
	}
	maps.Copy(labels, o.Labels())
	labels[LabelProject] = project
	return labels
}
