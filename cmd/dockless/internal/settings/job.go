package settings

import (
	"fmt"

	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/hint"
)

// Job are those of running jobs that no other package reads.
type Job struct {
	CacheRepo   string          `envconfig:"DOCKLESS_CACHE_REPO" desc:"repository prefix for build caches and for what Cache@2 keeps, for example registry.ci.svc:5000/cache; empty is no cache in a registry"`
	CacheExport buildcache.Mode `envconfig:"DOCKLESS_CACHE_EXPORT" default:"auto" desc:"when builds export their cache to DOCKLESS_CACHE_REPO: async, behind the build once its files are read; sync, before the step ends; off, never, so that caches are only read; auto is async, and skips exports that cost more than they spared in the last builds"`
	Insecure    []string        `envconfig:"DOCKLESS_INSECURE_REGISTRIES" desc:"registries, host or host:port, that are spoken to without TLS or with a certificate that nobody checks, as insecure-registries of a Docker daemon; those on localhost need no mention"`
	Tasks       []string        `envconfig:"DOCKLESS_TASKS" desc:"tasks, name@version, whose packages the agent keeps from its start on and dockless tasks fetch downloads, for example Npm@1,UseNode@1"`
	ProbeFile   string          `envconfig:"DOCKLESS_PROBE_FILE" default:"/dev/shm/dockless" desc:"page of shared memory that the agent's loops beat into and dockless-probe reads; empty is none"`
	ProbeShared bool            `envconfig:"DOCKLESS_PROBE_SHARED" desc:"let other programs of the agent's user have slots of that page, too: a probe is then about all of them unless it names a process, and a job can start such a program"`
}

// Validate reports all settings that cannot be used.
func (s *Job) Validate() error {
	if err := s.CacheExport.Validate(); err != nil {
		return hint.With(fmt.Errorf("DOCKLESS_CACHE_EXPORT: %w", err), "set DOCKLESS_CACHE_EXPORT to async, sync, off or auto")
	}
	return nil
}
