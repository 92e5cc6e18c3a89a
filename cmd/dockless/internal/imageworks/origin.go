package imageworks

import (
	"cmp"
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/imagebuild"
	"github.com/dockless-ci/dockless/internal/job"
)

// CacheOf returns the cache policy for a context: the branch is the job's, and
// outside of a job the one that is checked out.
func CacheOf(ctx context.Context, repo, dir string) buildcache.Policy {
	p := buildcache.Policy{
		Repo:         repo,
		Branch:       os.Getenv("BUILD_SOURCEBRANCH"),
		TargetBranch: os.Getenv("SYSTEM_PULLREQUEST_TARGETBRANCH"),
	}
	if fork, _ := strconv.ParseBool(os.Getenv("SYSTEM_PULLREQUEST_ISFORK")); fork {
		p.Fork = cmp.Or(os.Getenv("SYSTEM_PULLREQUEST_SOURCEREPOSITORYURI"), "fork") // as the runner names it
	}
	if repo == "" {
		return p
	}
	if p.Branch == "" {
		p.Branch = gitSays(ctx, dir, "symbolic-ref", "--quiet", "HEAD") // none: the policy has a scope for that
	}
	// What a clone was told; else what the service calls the first branch of a new
	// repository.
	standard := gitSays(ctx, dir, "symbolic-ref", "--quiet", "refs/remotes/origin/HEAD")
	p.DefaultBranch = cmp.Or(strings.TrimPrefix(standard, "refs/remotes/origin/"), "main")
	return p
}

// OriginOf says where a build comes from. Git is asked only where others learn of
// it: an attestation, and the record beside a cache.
func OriginOf(ctx context.Context, r imagebuild.Request) imagebuild.Provenance {
	if _, attested := r.Attestations["provenance"]; attested || r.Cache.Repo != "" {
		return provenanceOf(ctx, r.Context)
	}
	return provenanceOf(ctx, "")
}

// provenanceOf says where the build of a context comes from: in a job, what its
// variables tell, and else the repository around a directory.
func provenanceOf(ctx context.Context, dir string) imagebuild.Provenance {
	o := job.OriginOf(func(name string) string {
		return os.Getenv(strings.ToUpper(strings.ReplaceAll(name, ".", "_")))
	})
	if dir != "" && !imagebuild.IsRemote(dir) {
		// What lies in the directory counts; a job may check out several repositories.
		if commit := gitSays(ctx, dir, "rev-parse", "HEAD"); commit != "" && commit != o.Revision {
			o.Revision, o.Source = commit, ""
		}
		if o.Source == "" {
			o.Source = job.WithoutCredentials(gitSays(ctx, dir, "config", "--get", "remote.origin.url"))
		}
	}
	return imagebuild.Provenance{Builder: o.Run, Source: o.Source, Revision: o.Revision, Run: o.Number, Job: o.Name}
}

// gitSays returns what git prints in a directory, or "" when it fails.
func gitSays(ctx context.Context, dir string, args ...string) string {
	out, err := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
