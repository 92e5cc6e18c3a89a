package integration_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner"
	"github.com/dockless-ci/dockless/test/rig"
)

// lines is a Reporter that keeps the log.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) UpdateRecord(job.Record) {}

func (l *lines) WriteLine(_ job.RecordID, line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, string(line))
}

func (l *lines) Attach(context.Context, job.RecordID, job.Attachment) {}

func (*lines) Waits() bool { return false }

// A node that was never here before finds what another one cached, in a registry
// that asks for a password.
func TestAColdNodeRestoresACacheFromTheRegistry(t *testing.T) {
	const user, password = "bobby", "pa55-word-of-the-registry"
	locked := rig.NeedRegistry(t, rig.RegistryOptions{User: user, Password: password})
	docker := t.TempDir()
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	if err := os.WriteFile(filepath.Join(docker, "config.json"), fmt.Appendf(nil, `{"auths": {%q: {"auth": %q}}}`, locked.Addr(), auth), 0o600); err != nil {
		t.Fatal(err)
	}
	cache := job.Step{
		ID: job.NewRecordID(), Name: "Cache", DisplayName: "Cache", Inputs: map[string]string{"path": "kept", "cacheHitVar": "hit"},
		Reference: job.TaskReference{ID: "d53ccab4-555e-4494-9d06-11db043fb4a9", Name: "Cache", Version: "2.274.0"},
	}
	node := func(key, restore string) string {
		r, err := runner.New(runner.Config{
			Work: filepath.Join(t.TempDir(), "work"), NativeTasks: "on", AgentName: "cold", AgentVersion: "4.0.0", CacheSize: "1GiB",
			CacheRepo: locked.Addr() + "/cache", DockerConfig: docker, Environment: os.Environ(),
		}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		cache.Inputs["key"], cache.Inputs["restoreKeys"] = key, restore
		m := scriptMessage("", map[string]job.Variable{"build.sourceBranch": {Value: "refs/heads/main"}}, nil)
		m.Steps = []job.Step{
			cache, bashStep("Look", `echo "hit is $(hit): $(cat kept/deep/file; readlink kept/link)"`),
			bashStep("Make", `mkdir -p kept/deep && echo once > kept/deep/file && ln -sf deep/file kept/link`),
		}
		var log lines
		if out, err := r.Run(t.Context(), m, &log); err != nil || out.Result != job.Succeeded {
			t.Fatalf("the job is %s, %v:\n%s", out.Result, err, strings.Join(log.all, "\n"))
		}
		return strings.Join(log.all, "\n")
	}
	for _, c := range [][3]string{
		{"npm | 1", "", "\nhit is false: "}, {"npm | 1", "", "\nhit is true: once\ndeep/file"}, {"npm | 2", "npm", "\nhit is inexact: once\ndeep/file"},
	} {
		if log := node(c[0], c[1]); !strings.Contains(log, c[2]) || strings.Contains(log, password) || strings.Contains(log, "##[warning]") {
			t.Errorf("key %s: want %q in\n%s", c[0], c[2], log)
		}
	}
}
