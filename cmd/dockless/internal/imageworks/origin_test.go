package imageworks

import (
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/buildcache"
)

func TestTheCachesOfABuildAreThoseOfItsBranchAndOfTheClonesDefaultBranch(t *testing.T) {
	clone := t.TempDir()
	for _, args := range [][]string{
		{"init", "-q", "-b", "feature/x"},
		{"symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/trunk"},
	} {
		if out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", clone}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	nothing := map[string]string{}
	for name, test := range map[string]struct {
		dir  string
		env  map[string]string
		want buildcache.Policy
	}{
		"a clone":       {dir: clone, env: nothing, want: buildcache.Policy{Repo: "c", Branch: "refs/heads/feature/x", DefaultBranch: "trunk"}},
		"no repository": {dir: t.TempDir(), env: nothing, want: buildcache.Policy{Repo: "c", DefaultBranch: "main"}},
		"a pull request": {dir: clone, env: map[string]string{
			"BUILD_SOURCEBRANCH": "refs/pull/4/merge", "SYSTEM_PULLREQUEST_TARGETBRANCH": "refs/heads/release",
		}, want: buildcache.Policy{Repo: "c", Branch: "refs/pull/4/merge", TargetBranch: "refs/heads/release", DefaultBranch: "trunk"}},
		"a pull request of a fork": {dir: clone, env: map[string]string{
			"BUILD_SOURCEBRANCH": "refs/pull/4/merge", "SYSTEM_PULLREQUEST_ISFORK": "True", "SYSTEM_PULLREQUEST_SOURCEREPOSITORYURI": "https://github.com/mallory/shop",
		}, want: buildcache.Policy{Repo: "c", Branch: "refs/pull/4/merge", DefaultBranch: "trunk", Fork: "https://github.com/mallory/shop"}},
		"a fork without a name": {dir: clone, env: map[string]string{"SYSTEM_PULLREQUEST_ISFORK": "true"}, want: buildcache.Policy{
			Repo: "c", Branch: "refs/heads/feature/x", DefaultBranch: "trunk", Fork: "fork",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, variable := range []string{"BUILD_SOURCEBRANCH", "SYSTEM_PULLREQUEST_TARGETBRANCH", "SYSTEM_PULLREQUEST_ISFORK", "SYSTEM_PULLREQUEST_SOURCEREPOSITORYURI"} {
				t.Setenv(variable, test.env[variable])
			}
			if diff := cmp.Diff(test.want, CacheOf(t.Context(), "c", test.dir)); diff != "" {
				t.Errorf("policy (-want +got):\n%s", diff)
			}
		})
	}
}
