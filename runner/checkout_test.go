package runner_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner"
)

// origin is a repository on the disk of the test: two commits on main, a tag,
// a pull request and a submodule.
type origin struct {
	dir           string
	first, second string // commits of main
	pull          string
}

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_ALLOW_PROTOCOL=file:http",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func newOrigin(t *testing.T) origin {
	t.Helper()
	root := t.TempDir()
	sub, dir := filepath.Join(root, "sub"), filepath.Join(root, "web")
	git(t, root, "init", "-q", "-b", "main", sub)
	write(t, filepath.Join(sub, "lib.txt"), "library\n")
	git(t, sub, "add", ".")
	git(t, sub, "commit", "-q", "-m", "library")
	git(t, root, "init", "-q", "-b", "main", dir)
	write(t, filepath.Join(dir, "file.txt"), "one\n")
	git(t, dir, "add", ".")
	git(t, dir, "commit", "-q", "-m", "one")
	o := origin{dir: dir, first: git(t, dir, "rev-parse", "HEAD")}
	git(t, dir, "tag", "v1")
	write(t, filepath.Join(dir, "file.txt"), "two\n")
	git(t, dir, "submodule", "add", "-q", "../sub", "lib")
	git(t, dir, "commit", "-q", "-a", "-m", "two")
	o.second = git(t, dir, "rev-parse", "HEAD")
	git(t, dir, "checkout", "-q", "-b", "topic")
	write(t, filepath.Join(dir, "file.txt"), "pull\n")
	git(t, dir, "commit", "-q", "-a", "-m", "pull")
	o.pull = git(t, dir, "rev-parse", "HEAD")
	git(t, dir, "update-ref", "refs/pull/7/merge", o.pull)
	git(t, dir, "checkout", "-q", "main")
	git(t, dir, "branch", "-q", "-D", "topic")
	return o
}

// repository describes o as a message does.
func (o origin) repository(alias, ref, version string) job.Repository {
	r := job.Repository{Alias: alias, Properties: make(map[string]json.RawMessage)}
	for name, value := range map[string]string{"id": alias, "type": "Git", "name": "Shop/web-" + alias, "url": "file://" + o.dir, "ref": ref, "version": version} {
		r.Properties[name] = json.RawMessage(`"` + value + `"`)
	}
	return r
}

func getSources(alias string, in map[string]string) job.Step {
	s := job.Step{ID: job.NewRecordID(), Name: "Checkout" + alias, DisplayName: "Checkout " + alias, Reference: checkout, Inputs: map[string]string{"repository": alias}}
	maps.Copy(s.Inputs, in)
	return s
}

// gitConfig returns settings that let git use repositories on the disk.
func gitConfig(t *testing.T) runner.Config {
	t.Helper()
	cfg := config(t)
	cfg.Environment = append(cfg.Environment, "GIT_ALLOW_PROTOCOL=file:http", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=advice.detachedHead", "GIT_CONFIG_VALUE_0=false")
	return cfg
}

func TestA38ACheckoutPutsTheSourcesIntoTheirDirectory(t *testing.T) {
	o := newOrigin(t)
	for name, c := range map[string]struct {
		ref, version string
		in           map[string]string
		script       string
		want         []string
	}{
		"commit of a branch":           {"refs/heads/main", o.first, nil, "cat file.txt; git rev-list --count HEAD; git branch --show-current; git tag", []string{"one", "1", "v1"}},
		"tip of a branch":              {"refs/heads/main", "", map[string]string{"fetchTags": "false"}, "cat file.txt; git rev-list --count HEAD; git tag", []string{"two", "2"}},
		"shallow commit":               {"refs/heads/main", o.second, map[string]string{"fetchDepth": "1", "fetchTags": "false"}, "cat file.txt; git rev-list --count HEAD; ls lib", []string{"two", "1"}},
		"shallow branch":               {"refs/heads/main", "", map[string]string{"fetchDepth": "1", "fetchTags": "false"}, "git rev-list --count HEAD", []string{"1"}},
		"submodules":                   {"refs/heads/main", o.second, map[string]string{"submodules": "true"}, "cat lib/lib.txt", []string{"library"}},
		"recursive shallow submodules": {"refs/heads/main", o.second, map[string]string{"submodules": "recursive", "fetchDepth": "1"}, "cat lib/lib.txt", []string{"library"}},
		"pull request":                 {"refs/pull/7/merge", o.pull, nil, "cat file.txt; git rev-parse refs/remotes/pull/7/merge", []string{"pull", o.pull}},
		"shallow pull":                 {"refs/pull/7/merge", o.pull, map[string]string{"fetchDepth": "1", "fetchTags": "false"}, "cat file.txt; git rev-list --count HEAD", []string{"pull", "1"}},
		"tag":                          {"refs/tags/v1", "", nil, "cat file.txt", []string{"one"}},
		"another path":                 {"refs/heads/main", o.second, map[string]string{"path": "src/web"}, `pwd | sed "s|$PIPELINE_WORKSPACE||"; echo "${BUILD_SOURCESDIRECTORY#$PIPELINE_WORKSPACE} ${BUILD_REPOSITORY_LOCALPATH#$PIPELINE_WORKSPACE}"`, []string{"/src/web", "/src/web /src/web"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := message(getSources("self", c.in), script("s", c.script))
			m.Resources.Repositories = []job.Repository{o.repository("self", c.ref, c.version)}
			rec, out := run(t, gitConfig(t), m)
			if out.Result != job.Succeeded {
				t.Fatalf("job %s; checkout:\n%s", out.Result, strings.Join(rec.log(t, "Checkout self"), "\n"))
			}
			if diff := cmp.Diff(c.want, rec.output(t, "s")); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
		})
	}
}

// The log of a checkout has no advice about git itself and of each progress
// only the end.
func TestTheLogOfACheckoutIsShort(t *testing.T) {
	o := newOrigin(t)
	for i := range 300 {
		write(t, filepath.Join(o.dir, "many", strconv.Itoa(i)), strconv.Itoa(i))
	}
	git(t, o.dir, "add", ".")
	git(t, o.dir, "commit", "-q", "-m", "many")
	m := message(getSources("self", nil))
	m.Resources.Repositories = []job.Repository{o.repository("self", "refs/heads/main", "")}
	cfg := gitConfig(t)
	cfg.Environment = append(cfg.Environment, "GIT_PROGRESS_DELAY=0")
	rec, out := run(t, cfg, m)
	log := rec.log(t, "Checkout self")
	text := strings.Join(log, "\n")
	if out.Result != job.Succeeded || len(log) > 40 || strings.Contains(text, "hint:") || strings.ContainsAny(text, "\r") {
		t.Errorf("job %s with %d lines of log, want a short one:\n%s", out.Result, len(log), text)
	}
	for _, want := range []string{"git -c init.defaultBranch=main init ", "Counting objects: 100% (", "Receiving objects: 100% ("} {
		if n := strings.Count(text, want); n != 1 {
			t.Errorf("%q is there %d times, want once:\n%s", want, n, text)
		}
	}
}

// Whoever can write to a repository must not command the agent that builds it.
func TestWhatGitPrintsCommandsNothing(t *testing.T) {
	o := newOrigin(t)
	git(t, o.dir, "commit", "-q", "--allow-empty", "-m", "##vso[task.setvariable variable=taken;isOutput=true]x")
	m := message(getSources("self", nil), script("s", "true"))
	m.Resources.Repositories = []job.Repository{o.repository("self", "refs/heads/main", "")}
	rec, out := run(t, gitConfig(t), m)
	log := strings.Join(rec.log(t, "Checkout self"), "\n")
	if out.Result != job.Succeeded || len(out.Outputs) != 0 || strings.Contains(log, "##vso") || !strings.Contains(log, "**vso[task.setvariable") {
		t.Errorf("job %s, outputs %v; want the commands shown, but harmless:\n%s", out.Result, out.Outputs, log)
	}
}

func TestASecondCheckoutReusesOrCleansTheSources(t *testing.T) {
	o := newOrigin(t)
	cfg := gitConfig(t)
	for _, c := range []struct {
		in   map[string]string
		want string
	}{{nil, "absent"}, {nil, "present"}, {map[string]string{"clean": "true", "submodules": "true"}, "absent"}, {map[string]string{"clean": "true", "submodules": "true"}, "absent"}} {
		m := message(getSources("self", c.in), script("s", "test -e new.txt && echo present || echo absent; cat file.txt; touch new.txt; echo changed > file.txt; touch .git/index.lock"))
		m.Resources.Repositories = []job.Repository{o.repository("self", "refs/heads/main", o.second)}
		rec, out := run(t, cfg, m)
		if diff := cmp.Diff([]string{c.want, "two"}, rec.output(t, "s")); diff != "" || out.Result != job.Succeeded {
			t.Errorf("job %s, with %v (-want +got):\n%s\n%s", out.Result, c.in, diff, strings.Join(rec.log(t, "Checkout self"), "\n"))
		}
	}
}

// A job may leave links in the workspace. The next one's checkout empties its
// destination, which must not be a directory that a link leads to.
func TestACheckoutFollowsNoLinkOutOfTheWorkspace(t *testing.T) {
	o := newOrigin(t)
	for name, c := range map[string]struct {
		link, path string
		aliases    []string
		want       job.Result
	}{
		"on the way":             {"link", "link/kept", []string{"self"}, job.Failed},
		"at the destination":     {"link", "link", []string{"self"}, job.Succeeded},
		"the sources":            {"s", "", []string{"self"}, job.Succeeded},
		"the sources of several": {"s", "", []string{"self", "kept"}, job.Failed}, // into s/web-self and s/web-kept
	} {
		t.Run(name, func(t *testing.T) {
			outside := t.TempDir()
			precious := filepath.Join(outside, "kept", "file")
			write(t, precious, "precious")
			write(t, filepath.Join(outside, "web-self", "file"), "precious")
			cfg := gitConfig(t)
			m := func(steps ...job.Step) *job.Message {
				m := message(steps...)
				for _, alias := range c.aliases {
					m.Resources.Repositories = append(m.Resources.Repositories, o.repository(alias, "refs/heads/main", o.second))
				}
				return m
			}
			if _, out := run(t, cfg, m(script("plant", `cd "$PIPELINE_WORKSPACE"; rm -rf "`+c.link+`"; ln -s "`+outside+`" "`+c.link+`"`))); out.Result != job.Succeeded {
				t.Fatalf("planting the link: %s", out.Result)
			}
			var steps []job.Step
			for _, alias := range c.aliases {
				steps = append(steps, getSources(alias, map[string]string{"path": c.path}))
			}
			rec, out := run(t, cfg, m(steps...))
			_, err := os.Stat(precious)
			if _, beside := os.Stat(filepath.Join(outside, "web-self", "file")); err != nil || beside != nil || out.Result != c.want {
				t.Errorf("job %s, want %s; file outside: %v\n%s", out.Result, c.want, err, strings.Join(rec.log(t, "Checkout self"), "\n"))
			}
		})
	}
}

func TestSeveralCheckoutsLieSideBySide(t *testing.T) {
	o := newOrigin(t)
	m := message(getSources("self", nil), getSources("other", nil), script("s", `ls; cat web-self/file.txt web-other/file.txt; echo "${BUILD_REPOSITORY_LOCALPATH#$PIPELINE_WORKSPACE}"`))
	m.Resources.Repositories = []job.Repository{o.repository("self", "refs/heads/main", o.second), o.repository("other", "refs/heads/main", o.first)}
	rec, _ := run(t, gitConfig(t), m)
	if diff := cmp.Diff([]string{"web-other", "web-self", "two", "one", "/s"}, rec.output(t, "s")); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
}

func TestCheckoutsThatCannotBe(t *testing.T) {
	o := newOrigin(t)
	for name, c := range map[string]struct {
		in   map[string]string
		skip string
		want job.Result
		text string
	}{
		"no such repository": {map[string]string{"repository": "nobody"}, "", job.Failed, "no such repository"},
		"path outside":       {map[string]string{"path": "../../x"}, "", job.Failed, "out of the workspace"},
		"large files":        {map[string]string{"lfs": "true"}, "", job.Failed, "git-lfs"},
		"skipped":            {nil, "true", job.Succeeded, "not fetched"},
	} {
		t.Run(name, func(t *testing.T) {
			m := message(getSources("self", c.in))
			m.Resources.Repositories = []job.Repository{o.repository("self", "refs/heads/main", o.second)}
			m.Variables["agent.source.skip"] = job.Variable{Value: c.skip}
			cfg := gitConfig(t)
			if name == "large files" {
				path, err := exec.LookPath("git")
				if err != nil {
					t.Fatal(err)
				}
				cfg.Git, cfg.Environment = path, append(cfg.Environment, "PATH="+t.TempDir())
			}
			rec, out := run(t, cfg, m)
			if log := strings.Join(rec.log(t, "Checkout self"), "\n"); out.Result != c.want || !strings.Contains(log, c.text) {
				t.Errorf("job %s, want %s; log without %q:\n%s", out.Result, c.want, c.text, log)
			}
		})
	}
}

// gitServer serves a repository over HTTP to those who bring the token.
func gitServer(t *testing.T, root, authorization string, refuse int) *httptest.Server {
	t.Helper()
	path, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	token := authorization[strings.Index(authorization, " ")+1:]
	backend := &cgi.Handler{Path: path, Args: []string{"http-backend"}, Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1"}, InheritEnv: []string{"PATH"}}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if token != "" && onCommandLine(t, token) {
			t.Error("a process has the credentials on its command line")
		}
		if refuse > 0 {
			refuse--
			http.Error(w, "busy", http.StatusServiceUnavailable)
			return
		}
		if r.Header.Get("Authorization") != authorization {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv
}

// onCommandLine reports whether any process has text among its arguments.
func onCommandLine(t *testing.T, text string) bool {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(files) == 0 {
		t.Fatalf("there is no list of processes: %v", err)
	}
	return slices.ContainsFunc(files, func(file string) bool {
		line, _ := os.ReadFile(file) // the process may be gone
		return bytes.Contains(line, []byte(text))
	})
}

func TestCredentialsReachTheServerAndNothingElse(t *testing.T) {
	o := newOrigin(t)
	const token = "t0ken-of-the-job"
	for name, c := range map[string]struct {
		scheme, authorization string
		parameters            map[string]string
	}{
		"job token": {"OAuth", "bearer " + token, map[string]string{"AccessToken": token}},
		"address":   {"None", "basic " + base64.StdEncoding.EncodeToString([]byte("someone:"+token)), nil},
		"user":      {"UsernamePassword", "basic " + base64.StdEncoding.EncodeToString([]byte("someone:"+token)), map[string]string{"Username": "someone", "Password": token}},
	} {
		for _, persist := range []string{"false", "true"} {
			t.Run(name+" persist "+persist, func(t *testing.T) {
				srv := gitServer(t, filepath.Dir(o.dir), c.authorization, 0)
				r := o.repository("self", "refs/heads/main", o.second)
				address := srv.URL
				if c.parameters == nil {
					address = strings.Replace(address, "://", "://someone:"+token+"@", 1)
				}
				r.Properties["url"] = json.RawMessage(`"` + address + `/web/.git"`)
				r.Endpoint = &job.EndpointReference{ID: "E"}
				m := message(getSources("self", map[string]string{"persistCredentials": persist}),
					script("fetch", "git fetch -q origin main && echo allowed || echo refused", condition("always()")),
					script("look", "grep -c AUTHORIZATION .git/config; env | grep -c 'GIT_CONFIG_KEY_1'"))
				m.Resources.Endpoints = []job.Endpoint{{ID: "E", Name: "e", Authorization: job.Authorization{Scheme: c.scheme, Parameters: c.parameters}}}
				m.Resources.Repositories = []job.Repository{r}
				cfg := gitConfig(t)
				rec, out := run(t, cfg, m)
				if rec.record(t, "Checkout self").Result != job.Succeeded {
					t.Fatalf("checkout:\n%s", strings.Join(rec.log(t, "Checkout self"), "\n"))
				}
				want := []string{"refused"}
				if persist == "true" {
					want = []string{"allowed"}
				}
				got := rec.output(t, "fetch")
				if diff := cmp.Diff(want, got[len(got)-1:]); diff != "" {
					t.Errorf("a later fetch (-want +got):\n%s", diff)
				}
				if strings.Contains(rec.everything(), token) {
					t.Error("the token was shown")
				}
				noSecretOnDisk(t, cfg.Work, token)
				noSecretOnDisk(t, cfg.Work, base64.StdEncoding.EncodeToString([]byte("someone:"+token)))
				if post := rec.record(t, "Post-job: Checkout self"); post.Result != job.Succeeded {
					t.Errorf("post-job part: %s", post.Result)
				}
				_ = out
			})
		}
	}
}

func TestAServerThatIsBusyIsAskedAgain(t *testing.T) {
	if testing.Short() {
		t.Skip("waits a second or more between attempts")
	}
	o := newOrigin(t)
	srv := gitServer(t, filepath.Dir(o.dir), "", 1)
	r := o.repository("self", "refs/heads/main", o.second)
	r.Properties["url"] = json.RawMessage(`"` + srv.URL + `/web/.git"`)
	m := message(getSources("self", nil))
	m.Resources.Repositories = []job.Repository{r}
	rec, out := run(t, gitConfig(t), m)
	if log := strings.Join(rec.log(t, "Checkout self"), "\n"); out.Result != job.Succeeded || !strings.Contains(log, "trying again (2 of 3)") {
		t.Errorf("job %s:\n%s", out.Result, log)
	}
}
