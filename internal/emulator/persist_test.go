package emulator_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/mask"
)

func TestAnAgentKeepsItsRegistrationAcrossARestart(t *testing.T) {
	dir := t.TempDir()
	same := func(c *emulator.Config) { c.StateDir, c.PAT = dir, mask.NewSecret("pat") }
	first := emulatortest.New(t, same)
	p := online(t, first, "a")
	first.Queue(emulatortest.Script("true"))
	p.take()
	last := p.last
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}

	second := emulatortest.New(t, same)
	p.srv = second
	p.refused(403, "TaskAgentSessionExpiredException", "GET", p.pollPath(), nil, bearer(p.agentToken))
	p.refused(404, "TaskAgentJobNotFoundException", "PATCH", p.renewPath(), map[string]any{"requestId": p.request}, bearer(p.agentToken))
	p.open()
	second.Queue(emulatortest.Script("true"))
	p.take() // with lastMessageId of the first server: ids go on
	if p.last <= last || second.Agents()["a"] != true {
		t.Errorf("message %d after %d, agents %v", p.last, last, second.Agents())
	}
	p.mustRenew()
	p.runWhole("succeeded")
}

// The clock saved while Close did, and one took the other's file away.
func TestSavesThatMeetDoNotDisturbEachOther(t *testing.T) {
	srv := emulatortest.New(t, func(c *emulator.Config) { c.StateDir = t.TempDir() })
	online(t, srv, "a")
	var saves errgroup.Group
	for range 16 {
		saves.Go(func() error {
			for range 20 {
				if err := srv.Save(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := saves.Wait(); err != nil {
		t.Error(err)
	}
}

func TestABrokenStateFileIsReported(t *testing.T) {
	cfg := emulator.Defaults()
	cfg.StateDir, cfg.PAT = t.TempDir(), mask.NewSecret("pat")
	if err := os.WriteFile(filepath.Join(cfg.StateDir, "server.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := emulator.New(cfg, nil); err == nil || !strings.Contains(err.Error(), "server.json") {
		t.Errorf("New = %v, want an error that names the file", err)
	}
}
