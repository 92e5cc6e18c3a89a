package runner_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/job"
)

// A repository with a submodule on its own server, which wants the credentials,
// and one on another, which must not see them; with large files in each of both.
func TestSubmodulesAndLargeFilesGetTheCredentialsOfTheirOwnServerOnly(t *testing.T) {
	const token = "t0ken-of-the-job"
	root, elsewhere := t.TempDir(), t.TempDir()
	own, other := newHost(t, root, "bearer "+token), newHost(t, elsewhere, "")
	repository := func(root, name string, files map[string]string) string {
		dir := filepath.Join(root, name)
		git(t, root, "init", "-q", "-b", "main", dir)
		for file, text := range files {
			write(t, filepath.Join(dir, file), text)
		}
		git(t, dir, "add", ".")
		git(t, dir, "commit", "-q", "-m", "files")
		return dir
	}
	const attributes = "*.bin filter=lfs diff=lfs merge=lfs -text\n"
	repository(root, "near", map[string]string{".gitattributes": attributes, "near.bin": own.keep("large and near")})
	repository(elsewhere, "far", map[string]string{"far.txt": "far"})
	web := repository(root, "web", map[string]string{".gitattributes": attributes, "web.bin": own.keep("large"), ".gitmodules": "" +
		"[submodule \"near\"]\n\tpath = near\n\turl = " + own.URL + "/near/.git\n[submodule \"far\"]\n\tpath = far\n\turl = " + other.URL + "/far/.git\n"})
	for name, dir := range map[string]string{"near": root, "far": elsewhere} {
		git(t, web, "update-index", "--add", "--cacheinfo", "160000,"+git(t, filepath.Join(dir, name), "rev-parse", "HEAD")+","+name)
	}
	git(t, web, "commit", "-q", "-m", "submodules")
	r := from(origin{dir: web}.repository("self", "refs/heads/main", git(t, web, "rev-parse", "HEAD")), own.URL+"/web/.git")
	cfg := gitConfig(t)
	for _, depth := range []string{"0", "1"} {
		m := message(getSources("self", map[string]string{"submodules": "recursive", "lfs": "true", "fetchDepth": depth, "clean": "true"}),
			script("s", `cat web.bin near/near.bin far/far.txt | tr '\n' ' '; git status --short`))
		m.Resources.Endpoints, m.Resources.Repositories = tokenOf(token), []job.Repository{r}
		rec, out := run(t, cfg, m)
		log := strings.Join(rec.log(t, "Checkout self"), "\n")
		if out.Result != job.Succeeded {
			t.Fatalf("job %s:\n%s", out.Result, log)
		}
		if diff := cmp.Diff([]string{"largelarge and nearfar"}, rec.output(t, "s")); diff != "" {
			t.Errorf("files with depth %s (-want +got):\n%s\n%s", depth, diff, log)
		}
		for _, want := range []string{"git lfs install --local", "git lfs fetch origin ", "git submodule sync --recursive", "git submodule update --init --force"} {
			if !strings.Contains(log, "##[command]"+want) {
				t.Errorf("%q was not run:\n%s", want, log)
			}
		}
		noSecretOnDisk(t, cfg.Work, token)
	}
	if !own.saw("bearer "+token) || other.saw("bearer "+token) {
		t.Errorf("the server of the repository saw the token: %t; the other one: %t", own.saw("bearer "+token), other.saw("bearer "+token))
	}
}

// Files that were checked out as pointers become large ones, and back.
func TestLargeFilesAreTurnedOnAndOff(t *testing.T) {
	root := t.TempDir()
	h := newHost(t, root, "")
	web := filepath.Join(root, "web")
	git(t, root, "init", "-q", "-b", "main", web)
	write(t, filepath.Join(web, ".gitattributes"), "*.bin filter=lfs diff=lfs merge=lfs -text\n")
	write(t, filepath.Join(web, "a.bin"), h.keep("large"))
	git(t, web, "add", ".")
	git(t, web, "commit", "-q", "-m", "one")
	cfg := gitConfig(t)
	for i, c := range []struct{ lfs, want string }{{"false", "version https"}, {"true", "large"}, {"true", "large"}, {"false", "version https"}} {
		if i == 3 { // for git an unchanged file stays as it is
			write(t, filepath.Join(web, "a.bin"), h.keep("larger"))
			git(t, web, "commit", "-q", "-a", "-m", "two")
		}
		m := message(getSources("self", map[string]string{"lfs": c.lfs}), script("s", "head -n 1 a.bin; git status --short"))
		m.Resources.Repositories = []job.Repository{from(origin{dir: web}.repository("self", "refs/heads/main", git(t, web, "rev-parse", "HEAD")), h.URL+"/web/.git")}
		rec, out := run(t, cfg, m)
		if got := strings.Join(rec.output(t, "s"), "\n"); out.Result != job.Succeeded || !strings.HasPrefix(got, c.want) || strings.Contains(got, " M ") {
			t.Errorf("checkout %d with lfs %s: job %s, file %q, want %q\n%s", i+1, c.lfs, out.Result, got, c.want, strings.Join(rec.log(t, "Checkout self"), "\n"))
		}
	}
}
