package runner_test

import (
	"crypto/rand"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/internal/job"
)

func TestAFreshWorkspaceTakesFromTheMirrorWhatTheServerNeedNotSendAgain(t *testing.T) {
	const token = "t0ken-of-the-job"
	noise := make([]byte, 200_000)
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	o := newOrigin(t)
	write(t, filepath.Join(o.dir, "noise"), hex.EncodeToString(noise))
	git(t, o.dir, "add", ".")
	git(t, o.dir, "commit", "-q", "-m", "noise")
	h := newHost(t, filepath.Dir(o.dir), "bearer "+token)
	mirrors := filepath.Join(t.TempDir(), "mirrors")
	address := h.URL + "/web/.git"
	workspace := func(text string, change func(*job.Message)) (int64, *recorder) {
		cfg := gitConfig(t) // with a work folder of its own
		cfg.GitMirrors = mirrors
		m := message(getSources("self", nil), script("s", "cat file.txt; test ! -e .git/objects/info/alternates && git fsck --full && git config --get-regexp 'url|header'"))
		m.Resources.Endpoints = tokenOf(token)
		m.Resources.Repositories = []job.Repository{from(o.repository("self", "refs/heads/main", git(t, o.dir, "rev-parse", "main")), address)}
		if change != nil {
			change(m)
		}
		before := h.sent.Load()
		rec, out := run(t, cfg, m)
		log := strings.Join(rec.log(t, "Checkout self"), "\n")
		if got := rec.output(t, "s"); out.Result != job.Succeeded || got[0] != text || strings.Contains(log, "not used") {
			t.Fatalf("job %s, file %q, want %q:\n%s", out.Result, got, text, log)
		}
		if strings.Contains(rec.everything(), token) {
			t.Error("the token was shown")
		}
		noSecretOnDisk(t, cfg.Work, token)
		noSecretOnDisk(t, mirrors, token)
		return h.sent.Load() - before, rec
	}
	if sent, _ := workspace("two", nil); sent < int64(len(noise)) {
		t.Errorf("the first workspace cost %d bytes, want more than %d", sent, len(noise))
	}
	sent, _ := workspace("two", nil)
	t.Logf("the second workspace cost %d bytes", sent)
	if sent > 8<<10 {
		t.Errorf("a second workspace cost %d bytes of the server, want a few for its refs", sent)
	}
	write(t, filepath.Join(o.dir, "file.txt"), "three\n")
	git(t, o.dir, "commit", "-q", "-a", "-m", "three")
	if sent, _ = workspace("three", nil); sent > 16<<10 {
		t.Errorf("a workspace after one more commit cost %d bytes of the server", sent)
	}
	// What a job sets must not reach the repository that others share.
	evil := filepath.Join(t.TempDir(), "evil")
	_, _ = workspace("three", func(m *job.Message) {
		for name, value := range map[string]string{"GIT_CONFIG_PARAMETERS": "'gc.auto'='1'", "GIT_TRACE": evil} {
			m.Variables[name] = job.Variable{Value: value}
		}
	})
	if trace, err := os.ReadFile(evil); err != nil || strings.Contains(string(trace), "--git-dir=") {
		t.Errorf("the git of the mirror obeyed a variable of the job, or none did: %v", err)
	}
}
