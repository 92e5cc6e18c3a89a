package runner_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/internal/job"
)

// The table of language §1.14.
func TestVariablesAfterCheckouts(t *testing.T) {
	o := newOrigin(t)
	const show = `for v in "$BUILD_SOURCESDIRECTORY" "$SYSTEM_DEFAULTWORKINGDIRECTORY" "$BUILD_REPOSITORY_LOCALPATH"; do echo "${v#$PIPELINE_WORKSPACE/}"; done; ` +
		`echo "$BUILD_REPOSITORY_CLEAN $BUILD_REPOSITORY_GIT_SUBMODULECHECKOUT"`
	in := func(pairs ...string) map[string]string {
		m := make(map[string]string)
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	none := getSources("none", nil)
	none.Condition = "false"
	for name, c := range map[string]struct {
		steps []job.Step
		want  string
	}{
		"single":              {[]job.Step{getSources("self", nil)}, "s s s False False"},
		"single with path":    {[]job.Step{getSources("self", in("path", "x y/z"))}, "x y/z x y/z x y/z False False"},
		"single of another":   {[]job.Step{getSources("other", nil)}, "s s s False False"},
		"options":             {[]job.Step{getSources("self", in("clean", "true", "submodules", "true"))}, "s s s True True"},
		"several":             {[]job.Step{getSources("self", nil), getSources("other", nil)}, "s s s False False"},
		"several, self moved": {[]job.Step{getSources("self", in("path", "me")), getSources("other", nil)}, "s s me False False"},
		"several, main":       {[]job.Step{getSources("self", nil), getSources("other", in("workspaceRepo", "true"))}, "s s/web-other s False False"},
		"one and none":        {[]job.Step{none, getSources("self", nil)}, "s s s False False"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := message(append(c.steps, script("s", show, func(s *job.Step) { s.Inputs["workingDirectory"] = "$(Pipeline.Workspace)" }))...)
			m.Resources.Repositories = []job.Repository{o.repository("self", "refs/heads/main", o.second), o.repository("other", "refs/heads/main", o.first)}
			rec, out := run(t, gitConfig(t), m)
			if got := strings.Join(rec.output(t, "s"), " "); out.Result != job.Succeeded || got != c.want {
				t.Errorf("job %s, variables %q, want %q", out.Result, got, c.want)
			}
		})
	}
}

// Both leave credentials behind, and both take them away, although the path of one
// is made of a variable that changes.
func TestCredentialsAreForgottenInEachCheckoutOfARepository(t *testing.T) {
	const token = "t0ken-of-the-job"
	o := newOrigin(t)
	h := newHost(t, filepath.Dir(o.dir), "bearer "+token)
	m := message(getSources("self", map[string]string{"persistCredentials": "true", "path": "$(where)"}),
		getSources("self", map[string]string{"persistCredentials": "true", "path": "second"}),
		script("s", "cd $PIPELINE_WORKSPACE; cat first/.git/config second/.git/config | grep -c AUTHORIZATION; echo '##vso[task.setvariable variable=where]elsewhere'",
			func(s *job.Step) { s.Inputs["workingDirectory"] = "$(Pipeline.Workspace)" }))
	m.Steps[1].Name, m.Steps[1].DisplayName = "second", "second"
	m.Variables["where"] = job.Variable{Value: "first"}
	m.Resources.Endpoints = tokenOf(token)
	m.Resources.Repositories = []job.Repository{from(o.repository("self", "refs/heads/main", o.second), h.URL+"/web/.git")}
	cfg := gitConfig(t)
	rec, out := run(t, cfg, m)
	if got := rec.output(t, "s"); out.Result != job.Succeeded || got[0] != "2" {
		t.Fatalf("job %s, checkouts with credentials: %q, want 2", out.Result, got)
	}
	noSecretOnDisk(t, cfg.Work, token)
}

func TestConnectionsThatCannotEnterARepositoryAreNamed(t *testing.T) {
	o := newOrigin(t)
	m := message(getSources("self", nil))
	r := from(o.repository("self", "refs/heads/main", o.second), "http://127.0.0.1:1/r")
	r.Properties["type"] = json.RawMessage(`"ExternalGit"`)
	m.Resources.Repositories = []job.Repository{r}
	m.Resources.Endpoints = tokenOf("")
	m.Resources.Endpoints[0].Authorization = job.Authorization{Scheme: "WorkloadIdentityFederation"}
	rec, out := run(t, gitConfig(t), m)
	if log := strings.Join(rec.log(t, "Checkout self"), "\n"); out.Result != job.Failed || !strings.Contains(log, "service connection e uses workload identity federation") {
		t.Errorf("job %s:\n%s", out.Result, log)
	}
}
